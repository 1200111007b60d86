"""The example runs, and its figures are those of a predictive campaign."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "foreign_simulator.py"


def test_given_a_foreign_simulator_when_driven_then_busier_than_one_to_one_within_the_limit():
    spec = spec_from_file_location("foreign_simulator", EXAMPLE)
    example = module_from_spec(spec)
    spec.loader.exec_module(example)

    centre = example.Toy(agents=20, seed=1)
    example.drive(centre, 5400)
    assert centre.people > 450
    assert centre.busy_s / centre.staffed_s > 0.80  # one call per agent gives 0.74
    assert centre.gone / centre.people <= 0.035
