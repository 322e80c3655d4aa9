"""A synthetic log is what its arguments say, in every kind of file, and appears whole or not at all."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tfrec.cli import command
from tfrec.data import read_events, synthetic_log
from tfrec.data.synthetic_log import write_log


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(synthetic_log, "PIECE", 3000)


def test_the_same_arguments_give_the_same_events_in_every_kind_of_file(tmp_path, small_pieces):
    found = [read_events(write_log(tmp_path / f"log.{kind}", events=8000)) for kind in ("csv", "csv.gz", "parquet")]
    for other in found[1:]:
        pd.testing.assert_frame_equal(other, found[0])
    assert len(found[0]) in range(7900, 8001)  # A few rows repeat another one.
    again, other = (write_log(tmp_path / f"{seed}.csv", events=8000, seed=seed) for seed in (0, 1))
    assert again.read_bytes() == (tmp_path / "log.csv").read_bytes() != other.read_bytes()


def test_events_are_in_the_order_of_time_and_follow_the_laws(tmp_path, small_pieces):
    log = pd.read_parquet(write_log(tmp_path / "log.parquet", events=200_000, users=4000, items=500, days=10))
    assert len(log) == 200_000 and log.timestamp.is_monotonic_increasing
    assert np.ptp(log.timestamp) == pytest.approx(10 * 86_400, rel=0.01)
    lengths = log.user_id.value_counts()
    assert lengths.median() / lengths.mean() == pytest.approx(np.exp(-0.5), rel=0.1) and len(lengths) > 3900
    shown = log.item_id.value_counts().to_numpy()
    assert shown[0] / shown[9] == pytest.approx(10**synthetic_log.ZIPF, rel=0.3) and len(shown) == 500


def test_a_file_of_another_kind_and_sizes_out_of_bounds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in .csv, .csv.gz, .parquet; got '.*log.xlsx'"):
        write_log(tmp_path / "log.xlsx", events=10)
    with pytest.raises(ValueError, match="`users` must be a whole number from 1 to"):
        write_log(tmp_path / "log.csv", events=10, users=0)
    with pytest.raises(FileNotFoundError, match="none/log.csv cannot be written: there is no folder .*none. Make it"):
        write_log(tmp_path / "none" / "log.csv", events=10)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_one(tmp_path):
    path = tmp_path / "log.csv"
    words = ["simulate", str(path), "--events", "50", "--users", "5", "--items", "7", "--seed", "3"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0 and result.output.strip() == str(path)
    log = pd.read_csv(path)
    assert len(log) == 50 and log.user_id.nunique() <= 5 and list(log.columns) == ["user_id", "item_id", "timestamp"]
