"""What a configuration says of presets, which the loader (a layer below) does not know."""

from ocsd.config.objects import Configuration
from ocsd.rules.caps import caps_problems
from ocsd.rules.hours import hours_problems


def preset_problems(config: Configuration) -> list[str]:
    """Every name of a preset, in any calling list, that there is not; one sentence each, for a ConfigError."""
    return [
        problem
        for calling_list in config.calling_lists
        for problem in (*hours_problems(calling_list), *caps_problems(config, calling_list))
    ]
