"""A disk that is really full, a small file system in memory: one line each time, and with room the run goes through."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.benchmark_scripts import ROOT

PIPELINE = """\
name: small
data: {{simulated: {{users: 300, items: 200, mean_events: 10}}, max_length: 20}}
model: {{dim: 16, text: none, behavior: [attention], attention: {{blocks: 1, heads: 2}}}}
training: {{epochs: 1, patience: null}}
export: {{base_path: {folder}/published}}
"""
# The arguments: the folder, the command, and the sizes of the disk, one after the other.
SCRIPT = """\
folder=$1 python=$2; shift 2
mount -t tmpfs -o size=64k tmpfs "$folder/disk" || exit 77
for size; do
    mount -o remount,size=$size "$folder/disk"
    "$python" -m tfrec.cli run "$folder/small.yaml" --out "$folder/disk/run" 2> "$folder/said_$size"
    echo $? > "$folder/status_$size"
    find "$folder/disk" -name '.*' -mindepth 1 > "$folder/hidden_$size"
done
cp -r "$folder/disk/run" "$folder/run"
"""
SIZES = ["32k", "300k", "1200k", "200m"]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a file system of one's own needs unshare")
def test_a_full_disk_is_one_line_wherever_it_is_met_and_a_run_goes_through_when_there_is_room(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "small.yaml").write_text(PIPELINE.format(folder=tmp_path))
    own = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else [])]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("TF_CONFIG", "TFREC"))}
    words = [*own, "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable, *SIZES]
    ended = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600, check=False)
    if ended.returncode == 77 or ended.stderr.startswith("unshare: "):
        pytest.skip(f"no file system of one's own may be mounted here: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
    met = []
    for size in SIZES[:-1]:
        said = (tmp_path / f"said_{size}").read_text()
        line = said.splitlines()[-1]
        told = r"tfrec: error: .*/disk\S* cannot be written: the disk is full.* Make room"
        assert re.match(told, line) and "Traceback" not in said, said
        assert (tmp_path / f"status_{size}").read_text() == "1\n"
        assert (tmp_path / f"hidden_{size}").read_text() == ""
        met.append(re.findall(r"^(\w+) \.\.\.$", said, re.MULTILINE)[-1])
    assert len(set(met)) > 1, met  # More than one stage met it.
    assert (tmp_path / "status_200m").read_text() == "0\n", (tmp_path / "said_200m").read_text()
    assert (tmp_path / "run" / "metrics.json").exists()
