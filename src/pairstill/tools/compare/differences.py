"""What runs differ in besides the making of their pairs: comparing other encoders in silence would be unfair."""

from collections.abc import Mapping

from pairstill.config import RunConfig
from pairstill.run.folder import FREE_SETTINGS, flat, plain
from pairstill.tools.compare.runs import MADE_SETTINGS, REPEATED_SETTINGS

NOTE = "Beside the making of their pairs these runs differ in what follows, which has its part in every difference:"
WHERE = ("data.root", "data.annotations", "data.images")
"""Where the pairs lie says nothing of them: that the test data are the same is checked by their content."""


def differing_settings(configs: Mapping[str, RunConfig]) -> list[str]:
    """Return a line for each setting that decides recalls and is not the same everywhere: encoders, students and so on.

    Args:
        configs: the settings by the title of their row.
    """
    by_title = {title: _decisive(config) for title, config in configs.items()}
    lines = []
    for name in dict.fromkeys(name for settings in by_title.values() for name in settings):
        titles: dict[str, list[str]] = {}
        for title, settings in by_title.items():
            titles.setdefault(_shown(settings.get(name)), []).append(title)
        if len(titles) > 1:
            lines.append(f"{name}: " + "; ".join(f"{value} ({', '.join(those)})" for value, those in titles.items()))
    return lines


def _decisive(config: RunConfig) -> dict[str, object]:
    settings = plain(config)
    kept = {key: value for key, value in settings.items() if key not in FREE_SETTINGS + REPEATED_SETTINGS}
    measured = {name: settings["evaluate"][name] for name in ("references", "rate_scales", "scale_learned")}
    kept |= {"student": settings["student"], "evaluate": measured}
    found = flat({key: value for key, value in kept.items() if key not in MADE_SETTINGS})
    return {name: value for name, value in found.items() if name not in WHERE}


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
