"""When Do-Not-Call is read again by itself: times of day in UTC, as the option ``dnc_reread_at`` gives them."""

from datetime import UTC, datetime, time, timedelta

from ocsd.model.errors import ConfigError


def times_of_day(text: str) -> tuple[time, ...]:
    """``"02:30,14:00"`` as times, ascending; empty: never. ConfigError when it is something else."""
    times = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        hours, colon, minutes = part.partition(":")
        if not (colon and len(minutes) == 2 and 1 <= len(hours) <= 2 and (hours + minutes).isdecimal()):
            raise ConfigError([f"dnc_reread_at: {part!r} is no time of day; write HH:MM, for example 02:30"])
        try:
            times.add(time(int(hours), int(minutes)))
        except ValueError:
            raise ConfigError([f"dnc_reread_at: {part!r} is no time of day"]) from None
    return tuple(sorted(times))


def is_due(times: tuple[time, ...], since: datetime, now: datetime) -> bool:
    """Whether one of the times of day lies after ``since`` and not after ``now`` (aware)."""
    since, now = since.astimezone(UTC), now.astimezone(UTC)
    if now - since >= timedelta(days=1):
        return bool(times)
    days = {since.date(), now.date()}
    return any(since < datetime.combine(day, at, UTC) <= now for day in days for at in times)
