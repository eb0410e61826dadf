"""Ten years of schedules by a second hand: Python's zone database, and a walk through every minute of them.

python3 ten_years.py                                     what ten_years.txt has
python3 ten_years.py Europe/Berlin "30 2 * * *" 2026     each of its fires in a year, to compare with
"""

import datetime
import sys
import zoneinfo

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
# Fixed hours in gaps and overlaps, at their edges, and rhythms through them; days by date, by name, and by either.
EXPRESSIONS = [
    "30 2 * * *",
    "*/20 1-3 * * *",
    "0 1,2,3 * * *",
    "15 0-23 * * *",
    "0 * * * *",
    "45 */2 * * *",
    "0 0 * * *",
    "15 2 * 3,4,10,11 SUN",
    "59 1 1-7 * 0",
    "5 4 29 2 *",
]
YEARS = range(2026, 2036)
MINUTE = datetime.timedelta(minutes=1)
NAMES = {"SUN": 0}


def field(text, low, high):
    """The values of a field, and whether it begins with a star."""
    values = set()
    for item in text.split(","):
        item, _, step = item.partition("/")
        first, _, last = item.partition("-")
        number = lambda word: NAMES[word] if word in NAMES else int(word)
        if item == "*":
            first, last = low, high
        else:
            first, last = number(first), number(last) if last else number(first)
        values.update(range(first, last + 1, int(step or 1)))
    return values, text.startswith("*")


class Cron:
    def __init__(self, expression):
        minute, hour, day, month, weekday = expression.split()
        self.minutes, _ = field(minute, 0, 59)
        self.hours, self.every_hour = field(hour, 0, 23)
        self.days, self.every_day = field(day, 1, 31)
        self.months, _ = field(month, 1, 12)
        self.weekdays, self.every_weekday = field(weekday, 0, 6)

    def matches(self, wall):
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return day and weekday if self.every_day or self.every_weekday else day or weekday


def minutes(zone, year):
    """Each minute of a year of UTC: its instant, what the clock on the wall shows, which times it has left out just
    before, and whether it has shown this one already."""
    at = datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc)
    wall = lambda at: at.astimezone(zone).replace(tzinfo=None)
    before = latest = wall(at - MINUTE)
    while at.year == year:
        now, left_out = wall(at), []
        while before + MINUTE < now:
            before += MINUTE
            left_out.append(before)
        yield int(at.timestamp()), now, left_out, now <= latest
        before, latest, at = now, max(latest, now), at + MINUTE


def fires(cron, year_of_minutes):
    for instant, wall, left_out, again in year_of_minutes:
        due = cron.matches(wall) and (cron.every_hour or not again)
        if due or any(cron.matches(one) for one in left_out):
            yield instant


def digest(instants):
    """FNV-1a, 64 bits, of each instant in eight bytes, the least first."""
    state = 0xCBF29CE484222325
    for instant in instants:
        for byte in instant.to_bytes(8, "little"):
            state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


if len(sys.argv) == 4:
    for instant in fires(Cron(sys.argv[2]), minutes(zoneinfo.ZoneInfo(sys.argv[1]), int(sys.argv[3]))):
        print(datetime.datetime.fromtimestamp(instant, datetime.timezone.utc).isoformat())
else:
    for name in ZONES:
        zone = zoneinfo.ZoneInfo(name)
        found = {expression: [] for expression in EXPRESSIONS}
        for year in YEARS:
            walked = list(minutes(zone, year))
            for expression in EXPRESSIONS:
                found[expression].append(list(fires(Cron(expression), walked)))
        for expression, years in found.items():
            told = " ".join(f"{len(of_year)}:{digest(of_year):016x}" for of_year in years)
            print(f"{name}; {expression}; {told}")
