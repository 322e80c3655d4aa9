"""Times in any spelling become the same nanoseconds."""

import datetime
import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.data.cuts import Seconds, cut_second
from tfrec.data.event_log import in_turn
from tfrec.data.tables import Table
from tfrec.data.time_numbers import Numbers
from tfrec.data.timestamps import NO_TIME, numbers_of, read_times

SECOND = 1_425_231_000  # 2015-03-01 17:30:00 UTC
SECOND_OF_13_MARCH = 1_426_204_800
EXPECTED = [SECOND * 10**9, (SECOND + 86_400) * 10**9]


def times(values):
    return read_times(Table(pd.DataFrame({"time": values}), "The table 'events'"), "time").tolist()


@pytest.mark.parametrize(
    "values",
    [
        [SECOND, SECOND + 86_400],
        [str(SECOND), str(SECOND + 86_400)],
        [float(SECOND), SECOND + 86_400.0],
        ["2015-03-01 17:30:00", "2015-03-02T17:30:00Z"],
        ["2015-03-01T18:30:00+01:00", "2015-03-02 17:30"],
        ["Mar 1, 2015 17:30", "Mar 2, 2015 17:30"],
        pd.to_datetime(["2015-03-01 17:30:00", "2015-03-02 17:30:00"]),
        pd.to_datetime(["2015-03-01 17:30:00", "2015-03-02 17:30:00"]).tz_localize("UTC").tz_convert("Asia/Shanghai"),
        [datetime.datetime(2015, 3, 1, 17, 30), datetime.datetime(2015, 3, 2, 17, 30)],
    ],
)
def test_every_spelling_of_a_time_gives_the_same(values):
    assert times(values) == EXPECTED


@pytest.mark.parametrize("layout", ["%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%m-%d-%YT%H:%M:%S"])
@pytest.mark.parametrize("back", [1, -1])
def test_one_row_tells_whether_the_day_comes_before_the_month(layout, back):
    seconds = [SECOND_OF_13_MARCH, SECOND_OF_13_MARCH - 11 * 86_400][::back]
    values = [datetime.datetime.fromtimestamp(second, datetime.UTC).strftime(layout) for second in seconds]
    assert times([*values, ""]) == [seconds[0] * 10**9, seconds[1] * 10**9, NO_TIME]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["05/05/2015", "", "01/02/2015"], "'time': 1 of 3 dates may .*, first in row 3 .*'01/02/2015'.*YYYY-MM-DD"),
        (["1.2.2015 10:00", "3.4.2015 11:00"], "2 of 2 dates may have the day or the month first, and no row tells"),
    ],
)
def test_dates_that_read_both_ways_are_refused(values, message):
    with pytest.raises(ValueError, match=message) as caught:
        times(values)
    assert "convert the column beforehand" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["2015-01-02", "2015/01/02", "2015.01.02", "2015-1-2", "2 Jan 2015", "Jan 2, 2015", "2015-01-02 00:00"]
)
def test_a_year_first_or_a_named_month_reads_one_way(value):
    assert times([value]) == [1_420_156_800 * 10**9]


def test_a_date_whose_day_is_its_month_reads_one_way():
    assert times(["03/03/2015"]) == [1_425_340_800 * 10**9]


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
@pytest.mark.parametrize("spelling", [int, str])
def test_finer_units_are_recognised_and_said(caplog, factor, unit, spelling):
    with caplog.at_level(logging.WARNING):
        assert times([spelling(SECOND * factor), spelling((SECOND + 86_400) * factor)]) == EXPECTED
    assert f"column 'time': numbers such as {SECOND * factor} are read as {unit}" in caplog.text


def test_seconds_are_read_without_a_warning(caplog):
    times([SECOND, SECOND])
    assert not caplog.records


def test_fractions_of_a_second_count():
    assert times([0.25, 1.5]) == [250_000_000, 1_500_000_000]


@pytest.mark.parametrize("values", [[5, None], ["5", ""], ["1970-01-01 00:00:05", None]])
def test_missing_times_are_marked(values):
    assert times(values) == [5 * 10**9, NO_TIME]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2015-03-01", "soon"], "'time': 1 of 2 are no times, first in row 2 .*'soon'"),
        (["01/02/2015", "13/13/2015"], "1 of 2 are no times, first in row 2"),
        (["01/13/2015", "13/01/2015"], "1 of 2 are no times, first in row 2"),
        (["01/02/2015", "13/02/2015", "14/02/2015", "02/13/2015"], "1 of 4 are no times, first in row 4"),
        ([True, False], "times are expected, and the column holds true and false"),
        ([20150301, 20150302], "2 of 2 are dates written as whole numbers.*Write them as 2015-03-01"),
        ([1.0, np.inf], "are no plausible times"),
    ],
)
def test_what_is_no_time_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        times(values)


def seconds_of(*parts):
    return Seconds(lambda function, merge: in_turn(function, parts, merge))


def test_numbers_of_some_pieces_are_none_where_other_pieces_hold_none():
    tables = [Table(pd.DataFrame({"time": values}), "t") for values in (["7", "8"], ["2015-03-01"], ["", ""])]
    several = [numbers_of([table], "time") for table in tables]
    assert several[0] is not None and several[1] is None
    assert Numbers.merged([several[0], several[2]]).count == 2
    assert Numbers.merged(several) is None


SECONDS = seconds_of(np.arange(SECOND, SECOND + 100))


@pytest.mark.parametrize("spread", [0, 50, 10**5, 10**9, 2**33])
def test_the_nth_time_is_found_by_counting(spread):
    rng = np.random.default_rng(spread)
    parts = [rng.integers(-spread, spread, size, endpoint=True) for size in (1, 500, 2000)]
    every = np.sort(np.concatenate(parts))
    for place in (0, 1, 1250, 2499, 2500):
        assert seconds_of(*parts).nth(place) == every[place]


@pytest.mark.parametrize(
    "cut",
    [
        SECOND + 80,
        str(SECOND + 80),
        (SECOND + 80) * 1000,
        SECOND + 79.5,
        "2015-03-01 17:31:20",
        "2015-03-01T18:31:19.5+01:00",
        datetime.datetime(2015, 3, 1, 17, 31, 20),
        "80%",
        0.8,
    ],
)
def test_every_spelling_of_a_cut_gives_the_same(cut):
    assert cut_second("test_from", cut, SECONDS) == SECOND + 80


def test_a_date_is_its_first_second():
    assert cut_second("test_from", datetime.date(2015, 3, 1), SECONDS) == SECOND - 17 * 3600 - 30 * 60


@pytest.mark.parametrize("cut", ["later", "", None, True, "inf", float("nan"), [1]])
def test_what_is_no_cut_is_refused(cut):
    with pytest.raises(ValueError, match="test_from must be a date .*got"):
        cut_second("test_from", cut, SECONDS)


@pytest.mark.parametrize("cut", ["01/03/2015", "1.3.2015 17:30"])
def test_a_cut_that_reads_both_ways_is_refused(cut):
    with pytest.raises(ValueError, match=f"test_from may have the day or the month first; .*YYYY-MM-DD; got '{cut}'"):
        cut_second("test_from", cut, SECONDS)


@pytest.mark.parametrize("cut", ["13/03/2015", "03/13/2015", "13 March 2015", "03/2015"])
def test_a_cut_that_reads_one_way_is_taken(cut):
    assert cut_second("test_from", cut, SECONDS) == SECOND_OF_13_MARCH - (12 * 86_400 if cut == "03/2015" else 0)


@pytest.mark.parametrize("cut", ["0%", "100%", "120%", "x%"])
def test_a_share_is_between_none_and_all(cut):
    with pytest.raises(ValueError, match=f"test_from: a share .* lies between 0% and 100%; got '{cut}'"):
        cut_second("test_from", cut, SECONDS)
