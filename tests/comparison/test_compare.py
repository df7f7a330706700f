"""``compare`` on runs of every kind: the table, the files, a real TensorBoard, a real browser."""

import base64
import csv
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.comparison.tested_run import DEFINITIONS, SONGS, write_tested_run
from tests.conftest import Run
from wsa_lightning.comparison.curves import read_curve
from wsa_lightning.comparison.groups import pareto_front
from wsa_lightning.comparison.run_folders import find_runs


@pytest.fixture(scope="module")
def compared(wsa: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Three students and a control in one folder, compared by the command: terminal and output."""
    runs, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("comparison")
    write_tested_run(runs / "w16_s4", audio=True)
    write_tested_run(runs / "w10_s8", window=10, sinks=8, usdr=8.4, gflops=3.4567, audio=True)
    write_tested_run(runs / "w32_s1", window=32, sinks=1, usdr=8.2, gflops=4.3)
    write_tested_run(runs / "control", window=None, sinks=0, usdr=10.1, gflops=9.0)
    result = wsa("compare", runs, "--out", out)
    assert result.returncode == 0, result.stderr
    return result.stdout, out


def compare(wsa: Run, *words: object) -> tuple[int, str, str]:
    """``compare``: exit code, terminal, errors."""
    result = wsa("compare", *words)
    return result.returncode, result.stdout, result.stderr


def table(out: Path) -> dict[str, dict[str, str]]:
    """``compare.csv`` by run."""
    with (out / "compare.csv").open() as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def test_the_table_holds_scores_differences_costs_and_the_pareto_front(compared: tuple[str, Path]) -> None:
    terminal, _ = compared
    lines = {words[0]: words for line in terminal.splitlines() if (words := line.replace("★", "").split())}
    assert lines["w16_s4"][1:9] == ["16", "4", "10.00", "10.00", "-1.00", "[-1.30,", "-0.80]", "90.0"]
    assert lines["w16_s4"][-4:] == ["4.000", "1", "/", "30.0"]
    assert lines["teacher"][1:3] == ["full", "0"]
    starred = {line.split()[1] for line in terminal.splitlines() if line.strip().startswith("★ ")}
    assert starred - {"on"} == {"control", "w16_s4", "w10_s8"}


def test_the_csv_says_the_same_in_full_precision_and_the_teacher_stands_in_it_once(compared: tuple[str, Path]) -> None:
    rows = table(compared[1])
    assert list(rows) == ["control", "teacher", "w16_s4", "w10_s8", "w32_s1"], "best uSDR first"
    assert {row["group"] for row in rows.values()} == {"A"}
    assert float(rows["w10_s8"]["flops_per_second_of_audio"]) == 3.4567e9
    assert float(rows["w10_s8"]["usdr_median"]) == pytest.approx(9.4)
    assert float(rows["w10_s8"]["difference_low"]) == pytest.approx(-1.9)
    assert [name for name, row in rows.items() if row["pareto"] == "True"] == ["control", "w16_s4", "w10_s8"]
    assert rows["w16_s4"]["leakage_median"] == "", "null stays empty"


def test_a_real_tensorboard_serves_sdr_over_gflops_hparams_with_both_metrics_and_the_figure(
    compared: tuple[str, Path], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", compared[1] / "tensorboard", "--port", port]
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--load_fast", "false"], stdout=log, stderr=log
        )
    try:
        ask = Api(f"http://127.0.0.1:{port}/data")
        runs = ask.until("/runs", lambda runs: len(runs) == 6)
        assert set(runs) == {"comparison", "control", "teacher", "w16_s4", "w10_s8", "w32_s1"}
        for run, usdr, gflop, mflop in (("w10_s8", 9.4, 3, 3457), ("teacher", 11.0, 9, 9000)):
            for tag, step in (("usdr_over_gflop_per_second/A", gflop), ("usdr_over_mflop_per_second/A", mflop)):
                points = ask(f"/plugin/scalars/scalars?run={run}&tag={tag}")
                assert len(points) == 1, "one point a run"
                assert points[0][1:] == [step, pytest.approx(usdr)]
        experiment = ask("/plugin/hparams/experiment", {"experimentName": ""})
        hparams = {info["name"] for info in experiment["hparamInfos"]}
        assert {"window", "sinks", "role", "pareto"} <= hparams
        metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
        assert metrics == {"usdr_db", "gflop_per_second_of_audio"}
        sessions = ask(
            "/plugin/hparams/session_groups",
            {
                "experimentName": "",
                "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
                "colParams": [{"metric": info["name"]} for info in experiment["metricInfos"]],
                "startIndex": 0,
                "sliceSize": 100,
            },
        )["sessionGroups"]
        found = {
            group["hparams"]["window"]: {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
            for group in sessions
        }
        assert found["10"] == {
            "usdr_db": pytest.approx(9.4),
            "gflop_per_second_of_audio": pytest.approx(3.4567),
        }
        assert len(sessions) == 5
        image = ask("/plugin/images/images?run=comparison&tag=pareto%2FA&sample=0")[0]
        picture = ask.raw(f"/plugin/images/individualImage?{image['query']}")
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 5000
    finally:
        server.terminate()
        server.wait(20)


class Api:
    """The HTTP API of a TensorBoard."""

    def __init__(self, root: str) -> None:
        self.root = root

    def raw(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            content: bytes = answer.read()
        return content

    def __call__(self, path: str, body: Any = None) -> Any:
        return json.loads(self.raw(path, body))

    def until(self, path: str, good: Any, seconds: float = 90) -> Any:
        """Ask until the answer is good: the server takes its time to start and to read the logs."""
        end = time.monotonic() + seconds
        while True:
            try:
                if good(answer := self(path)):
                    return answer
            except OSError:
                answer = None
            assert time.monotonic() < end, f"TensorBoard did not serve {path} in {seconds} s; last answer {answer}"
            time.sleep(0.5)


class Page(HTMLParser):
    """What a rendered page holds."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_asks_nothing_of_the_network_and_holds_the_audio_of_every_run(compared: tuple[str, Path]) -> None:
    source = (compared[1] / "report.html").read_text()
    page = Page(source)
    links = [
        value for _, attributes in page.tags for name in ("src", "href", "srcset") if (value := attributes.get(name))
    ]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", source)
    # Two runs left audio: mixture, target and teacher are the same in both and stand there once.
    sounds = [attributes["src"] for tag, attributes in page.tags if tag == "audio"]
    assert len(sounds) == len(SONGS) * (3 + 2)
    assert all(base64.b64decode(sound.split(",")[1]).startswith(b"OggS") for sound in sounds if sound)
    for song in SONGS:
        assert song in page.text, "escaped, not swallowed"
    assert "formula of usdr <b>" in page.text
    assert ("b", {}) not in page.tags


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
def test_a_real_browser_renders_the_report_sorts_its_table_and_loads_the_audio(
    compared: tuple[str, Path], tmp_path: Path
) -> None:
    probe = """
    <script>addEventListener("load", () => setTimeout(() => {
      const table = document.querySelector("table.models");
      const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].dataset.value);
      const headings = [...table.querySelectorAll("thead button")];
      const click = name => headings.find(heading => heading.textContent.startsWith(name)).click();
      const seen = {before: order()};
      click("window"); click("window"); seen.window = order();
      click("to teacher"); seen.difference = order();
      seen.errors = window.errors;
      seen.image = document.querySelector("figure img").naturalWidth;
      seen.audio = [...document.querySelectorAll("audio")].map(audio => audio.duration);
      document.title = "seen " + JSON.stringify(seen);
    }, 1500));</script>"""
    source = (compared[1] / "report.html").read_text()
    early = '<script>window.errors = []; addEventListener("error", event => errors.push(event.message), true);</script>'
    report = tmp_path / "report.html"
    report.write_text(source.replace("<style>", f"{early}<style>", 1).replace("</body>", f"{probe}</body>"))
    arguments = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000", "--window-size=1280,2000",
    )  # fmt: skip
    result = subprocess.run(
        [str(CHROMIUM), *arguments, "--dump-dom", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>seen (.*?)</title>", result.stdout)
    assert title, result.stderr[-2000:]
    seen = json.loads(title[1].replace("&lt;", "<").replace("&amp;", "&"))
    assert seen["errors"] == []
    assert seen["before"] == ["control", "teacher", "w16_s4", "w10_s8", "w32_s1"]
    assert seen["window"] == ["w10_s8", "w16_s4", "w32_s1", "control", "teacher"]
    assert seen["difference"] == ["control", "w16_s4", "w10_s8", "w32_s1", "teacher"], "the empty cell stays last"
    assert seen["image"] > 100
    assert all(duration == pytest.approx(0.5, abs=0.05) for duration in seen["audio"])


def test_runs_scored_on_other_songs_are_set_apart_and_it_is_said_what_differs(tmp_path: Path, wsa: Run) -> None:
    write_tested_run(tmp_path / "runs" / "one")
    write_tested_run(tmp_path / "runs" / "two", usdr=9.5)
    write_tested_run(tmp_path / "runs" / "fewer", songs=SONGS[:2], failed=SONGS[2:])
    another = {**DEFINITIONS, "usdr": {**DEFINITIONS["usdr"], "text": "another formula"}}
    write_tested_run(tmp_path / "runs" / "other", definitions=another)
    code, terminal, errors = compare(wsa, tmp_path / "runs", "--out", tmp_path / "out")
    assert code == 0
    assert terminal.count("whole songs, vocals") == 3
    assert "(fewer) is not comparable with group A: other songs" in errors
    assert "(other) is not comparable with group A: other definition of usdr\n" in errors
    assert f"fewer: 1 songs failed and are not in the scores ({SONGS[2]})" in errors
    groups = {row: table(tmp_path / "out")[row]["group"] for row in ("one", "two", "fewer", "other")}
    assert groups["one"] == groups["two"] == "A"
    assert len(set(groups.values())) == 3
    folders = {path.name for path in (tmp_path / "out" / "tensorboard").iterdir()}
    assert {"A_one", "A_two", f"{groups['fewer']}_fewer", f"{groups['other']}_other"} <= folders
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "boxes_A.png", "boxes_A.svg", "boxes_B.png", "boxes_B.svg", "boxes_C.png", "boxes_C.svg",
        "compare.csv", "pareto.png", "pareto.svg", "report.html", "tensorboard",
    ]  # fmt: skip


def test_the_blocks_that_songs_were_cut_into_stand_beside_the_cost_they_make(compared: tuple[str, Path]) -> None:
    rows = table(compared[1])
    assert (rows["teacher"]["block_seconds"], rows["teacher"]["step_seconds"]) == ("8.0", "4.0")
    assert (rows["w16_s4"]["block_seconds"], rows["w16_s4"]["step_seconds"]) == ("8.5", "8.0")
    assert "8.5 / 8" in Page((compared[1] / "report.html").read_text()).text


def test_unfinished_and_broken_runs_are_named_left_out_and_the_exit_code_says_so(tmp_path: Path, wsa: Run) -> None:
    runs = tmp_path / "runs"
    write_tested_run(runs / "fine")
    for name, changes in (
        ("begun", {}), ("cut", {}), ("gone", {}),
        ("newer", {"version": 2}), ("silent", {"models": {}}), ("vague", {"definitions": {}}),
    ):  # fmt: skip
        write_tested_run(runs / name, **changes)
    shutil.rmtree(runs / "begun" / "test")
    scores = runs / "cut" / "test" / "scores.json"
    scores.write_text(scores.read_text()[:100])
    (runs / "gone" / "test" / "scores.csv").unlink()
    code, _, errors = compare(wsa, runs, "--out", tmp_path / "out")
    assert code == 1
    for name, reason in (
        ("begun", "unfinished"), ("cut", "broken"), ("gone", "scores.csv"), ("newer", "version 2"),
        ("silent", "lacks"), ("vague", "does not define")
    ):  # fmt: skip
        assert re.search(f"left out {name}: .*{reason}", errors), errors
    assert set(table(tmp_path / "out")) == {"fine", "teacher"}
    code, _, errors = compare(wsa, runs / "begun", "--out", tmp_path / "none")
    assert code == 2
    assert "no run can be compared" in errors
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("argument, words", [("gone*", "matches no folder"), ("empty", "contains no run")])
def test_an_argument_that_names_no_run_is_an_error(argument: str, words: str, tmp_path: Path, wsa: Run) -> None:
    (tmp_path / "empty").mkdir()
    code, _, errors = compare(wsa, tmp_path / argument, "--out", tmp_path / "out")
    assert code == 2
    assert words in errors


def test_globs_and_nested_folders_name_runs_by_what_tells_them_apart_and_a_second_time_leaves_one_point(
    tmp_path: Path, wsa: Run
) -> None:
    for name in ("study/w4/seed0", "study/w4/seed1", "study/w8/seed0"):
        write_tested_run(tmp_path / name, teacher=None)
    for _ in range(2):
        code, _, errors = compare(wsa, tmp_path / "study" / "w*", "--out", tmp_path / "out")
        assert code == 0, errors
    assert set(table(tmp_path / "out")) == {"w4/seed0", "w4/seed1", "w8/seed0"}
    events = list((tmp_path / "out" / "tensorboard" / "w4_seed0").iterdir())
    assert len(events) == 1
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_points_that_a_sweep_set_aside_are_no_runs_of_it_unless_named(tmp_path: Path) -> None:
    for name in ("w4_seed0", "replaced/w4_seed0-1", "inner/replaced/w8_seed0-1", "inner/w8_seed0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    assert set(find_runs([str(tmp_path)])) == {"w4_seed0", "inner/w8_seed0"}
    assert set(find_runs([str(tmp_path / "replaced")])) == {"w4_seed0-1"}


@pytest.fixture(scope="module")
def fitted(wsa: Run, songs: Path, tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run that was really fit and never tested."""
    folder = tmp_path_factory.mktemp("fitted")
    result = wsa(
        "fit", "--config", "configs/wsa_w10_s8.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--distillation.teacher", tiny_teacher, "--trainer.default_root_dir", folder / "fit_only",
        "--listening.enabled", "false",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder


def test_a_run_that_was_only_fit_is_compared_by_its_validation_and_apart_from_tested_ones(
    fitted: Path, tmp_path: Path, wsa: Run
) -> None:
    write_tested_run(tmp_path / "tested")
    code, _, errors = compare(wsa, fitted / "fit_only", tmp_path / "tested", "--out", tmp_path / "out")
    assert code == 0, errors
    assert "is not comparable with group A: other split" in errors
    summary = json.loads((fitted / "fit_only" / "summary.json").read_text())
    row = next(row for name, row in table(tmp_path / "out").items() if name.endswith("fit_only"))
    assert (row["window"], row["sinks"], row["group"]) == ("10", "8", "B")
    assert float(row["usdr_median"]) == summary["val/usdr"]
    assert float(row["flops_per_second_of_audio"]) == summary["flops/total"] / 8
    assert float(row["time_attention_reduction"]) == summary["flops/attention_reduction"]
    assert float(row["difference_mean"]) == summary["val/delta_db"]
    assert "Validation uSDR during training" in (tmp_path / "out" / "report.html").read_text()


def test_the_curve_of_a_run_is_what_its_event_files_hold(fitted: Path, tmp_path: Path) -> None:
    summary = json.loads((fitted / "fit_only" / "summary.json").read_text())
    curve = read_curve(fitted / "fit_only")
    steps = [step for step, _ in curve]
    assert (steps[0], steps[-1]) == (0, 3)
    assert steps == sorted(steps)
    assert curve[-1][1] == pytest.approx(summary["val/usdr"], abs=1e-4)
    assert curve[0][1] == pytest.approx(summary["val/usdr_step_0"], abs=1e-4)
    assert read_curve(tmp_path) == ()


def test_what_test_really_writes_is_what_compare_reads(
    wsa: Run,
    fitted: Path,
    songs: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(fitted / "fit_only", run)
    result = wsa(
        "test", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "last.ckpt",
        "--trainer.default_root_dir", run,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    code, terminal, errors = compare(wsa, run, "--out", tmp_path / "out")
    assert code == 0, errors
    assert f"{len(list((songs / 'test').iterdir()))} whole songs" in terminal
    scores = json.loads((run / "test" / "scores.json").read_text())["models"]
    rows = table(tmp_path / "out")
    for name, role in (("run", "student"), ("teacher", "teacher")):
        assert float(rows[name]["usdr_median"]) == scores[role]["scores"]["usdr"]["median"]
        assert float(rows[name]["flops_per_second_of_audio"]) == scores[role]["flops"]["per_second_of_audio"]
    assert (rows["run"]["window"], rows["run"]["sinks"]) == ("10", "8")
    assert float(rows["run"]["time_attention_reduction"]) > 1


def test_runs_whose_flops_nobody_could_count_are_in_every_table_and_not_on_the_front(
    fitted: Path, tmp_path: Path, wsa: Run
) -> None:
    runs = tmp_path / "runs"
    write_tested_run(runs / "counted")
    scores = write_tested_run(runs / "uncounted", usdr=12.0) / "test" / "scores.json"
    content = json.loads(scores.read_text())
    content["models"]["student"]["flops"] |= dict.fromkeys(("total", "time_attention", "per_second_of_audio"))
    scores.write_text(json.dumps(content))
    shutil.copytree(fitted / "fit_only", runs / "fit_only")
    path = runs / "fit_only" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in summary.items() if not key.startswith("flops/")}))
    code, terminal, errors = compare(wsa, runs, "--out", tmp_path / "out")
    assert code == 0, errors
    for name, group in (("uncounted", "A"), ("fit_only", "B")):
        row = table(tmp_path / "out")[name]
        assert row["group"] == group
        assert (row["pareto"], row["flops_per_second_of_audio"], row["time_attention_reduction"]) == ("False", "", "")
        assert row["usdr_median"]
        lines = [line for line in terminal.splitlines() if name in line]
        assert any("n/a" in line for line in lines)
        assert not any("★" in line for line in lines)
    assert table(tmp_path / "out")["counted"]["pareto"] == "True"
    assert (tmp_path / "out" / "report.html").read_text().count("<td>n/a</td>") >= 2


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-5, 5)), min_size=1, max_size=12))
def test_whatever_is_off_the_pareto_front_is_beaten_by_something_on_it(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    best = {point for point, on in zip(points, front, strict=True) if on}
    assert best
    for cost, score in best:
        assert not any(other != (cost, score) and other[0] <= cost and other[1] >= score for other in points)
    for cost, score in set(points) - best:
        assert any(other[0] <= cost and other[1] >= score for other in best)
