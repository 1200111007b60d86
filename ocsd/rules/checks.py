"""What a configuration says of presets and of legal windows, which the loader does not look at."""

from ocsd.config.legal import legal_problems
from ocsd.config.objects import Configuration
from ocsd.rules.caps import caps_problems
from ocsd.rules.hours import hours_problems


def preset_problems(config: Configuration) -> list[str]:
    """
    Every name of a preset, in any calling list, that there is not, and every legal window that does not work.

    One sentence each, for a ConfigError.
    """
    return [
        *legal_problems(config),
        *(
            problem
            for calling_list in config.calling_lists
            for problem in (*hours_problems(calling_list), *caps_problems(config, calling_list))
        ),
    ]
