"""The pages as readers see them: pictures that are there, fresh and described; tutorials that fit a page, lead on, and run in JupyterLab."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import make_pages  # noqa: E402
import make_readme  # noqa: E402

TUTORIALS = sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


# ---- pictures


def test_every_picture_is_there_and_fresh_and_described():
    assert make_pages.problems() == []


def code(source: str, picture: bool = False) -> dict:
    outputs = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": DOT, "text/plain": "<Figure>"}}] if picture else []
    return {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "source": source, "outputs": outputs}


@pytest.fixture
def site(tmp_path):
    "A project of one page with one picture, its stamp and one function that draws."
    (tmp_path / "nbs" / "tutorials").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "lineupiq").mkdir()
    (tmp_path / "lineupiq" / "figures.py").write_text('def plot_line(ax):\n    "A line."\n    ax.plot([1, 2])\n')
    cells = [code("x = 1"), code('#| fig-alt: "A line that rises from one to two."\nplot_line(x)', True), code("assert x")]

    def write(cells: list[dict], stamp: bool = False) -> list[str]:
        page = tmp_path / "nbs" / "tutorials" / "01_a.ipynb"
        page.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        make_pages.plot_functions.cache_clear()
        if stamp:
            (tmp_path / make_pages.STAMPS).write_text(
                json.dumps({"nbs/tutorials/01_a.ipynb": make_pages.digest(make_pages.read(page), tmp_path)})
            )
        return make_pages.problems(tmp_path)

    assert write(cells, stamp=True) == []
    return tmp_path, cells, write


@pytest.mark.parametrize(
    "source, old",
    [("x = 1  # why", False), ("x=1", False), ("'a word on it'\nx = 1", False), ("x = 2", True), ("%matplotlib inline\nx = 1", True)],
)
def test_a_picture_is_old_when_its_code_has_changed(site, source, old):
    _, cells, write = site
    found = write([code(source), *cells[1:]])
    assert len(found) == old and all("older than its code" in line for line in found)


def test_what_follows_the_last_picture_does_not_make_it_old(site):
    _, cells, write = site
    assert write([*cells, code("y = 3")]) == []


def test_a_picture_is_old_when_the_function_that_draws_it_has_changed(site):
    folder, cells, write = site
    file = folder / "lineupiq" / "figures.py"
    text = file.read_text()
    file.write_text(text.replace('"A line."', '"Other words."  # and why'))
    assert write(cells) == []
    file.write_text(text.replace("[1, 2]", "[1, 3]"))
    assert "older than its code" in write(cells)[0]


def test_missing_pictures_and_words_are_named(site):
    _, cells, write = site
    assert "but no picture" in write([cells[0], {**cells[1], "outputs": []}])[0]
    assert "without words" in write([cells[0], code("plot_line(x)", True)])[0]
    assert "a tutorial without a picture" in write([code("x = 1")])[0]
    assert "plot_new has no picture on its page" in write([*cells, code("#| export\ndef plot_new(): pass")])[0]
    large = code(cells[1]["source"], True)
    large["outputs"][0]["data"]["image/png"] = base64.b64encode(b"x" * (make_pages.LARGEST + 1)).decode()
    assert "a picture of 100,001 bytes" in write([cells[0], large])[0]


def test_outputs_keep_nothing_of_one_run():
    import tempfile

    stamp = f"{make_pages.TODAY}T10:11:12.5+00:00"
    text = make_pages.plain(f"{tempfile.gettempdir()}/tmpabc/runs/logistic_{make_pages.TODAY.replace('-', '')}_101112 at {stamp}")
    assert text == "…/runs/logistic_… at …" and make_pages.volatile(text) == ""
    assert (
        make_pages.volatile("<object at 0x7f00aa11bb22>")
        and make_pages.volatile(f"written {make_pages.TODAY}")
        and make_pages.volatile(str(ROOT))
    )
    assert make_pages.kept({"output_type": "display_data", "data": {"text/html": "", "text/plain": ""}}) is None
    assert make_pages.kept({"output_type": "stream", "name": "stdout", "text": "\n"}) is None
    said = {"output_type": "stream", "name": "stderr", "text": "[1] logistic: done, 5.9 s\na shop is new\n[2] prior: done, 1 s\n"}
    assert make_pages.kept(said)["text"] == "a shop is new\n"


def test_no_stored_output_has_an_address_a_temporary_folder_or_a_stamp():
    found = []
    for path in make_pages.pages():
        for cell in make_pages.read(path)["cells"]:
            text = json.dumps(
                [
                    {k: v for k, v in o.get("data", {}).items() if k.startswith("text/")} | {"text": o.get("text", "")}
                    for o in cell.get("outputs", [])
                ]
            )
            if wrong := re.search(r"\b0x[0-9a-f]{8,}|(?<![\w.])/tmp/\w|(?<!\d)20\d{6}_\d{6}(?!\d)", text):
                found.append(f"{path.name}: {wrong[0]}")
    assert found == []


def test_pictures_of_the_readme_are_those_of_the_index():
    text, pictures = make_readme.page()
    assert len(pictures) >= 1
    for k, data in enumerate(pictures):
        assert (ROOT / "nbs" / make_readme.name(k)).read_bytes() == data, "run `make readme`"
        assert re.search(rf'<img src="nbs/{make_readme.name(k)}" [^>]*alt="[^"]{{30,}}"', text)


# ---- tutorials


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_fits_a_page_and_leads_on(path):
    cells = make_pages.read(path)["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            long = [line for line in make_pages.source(cell).splitlines() if len(line) > 100 and not line.startswith("#|")]
            assert long == [], f"more than 100 characters: {long[0]}"
    last = make_pages.source(cells[-1])
    assert cells[-1]["cell_type"] == "markdown" and last.startswith("## Next") and re.search(r"\]\(\S+\.ipynb\)", last)


def test_every_tutorial_is_reached_from_the_one_before():
    nexts = {p.name: re.findall(r"\]\((\d\w+\.ipynb)\)", make_pages.source(make_pages.read(p)["cells"][-1])) for p in TUTORIALS}
    for before, path in zip(TUTORIALS, TUTORIALS[1:], strict=False):
        assert path.name in nexts[before.name], f"{before.name} leads to {nexts[before.name]}"


# ---- in a browser


class Tab:
    "A tab of a headless browser, by the DevTools protocol."

    def __init__(self, address: str):
        from websocket import create_connection

        self.socket, self.number = create_connection(address, suppress_origin=True, timeout=3000), 0

    def call(self, method: str, **params) -> dict:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def value(self, expression: str):
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> None:
        limit = time.monotonic() + seconds
        while not self.value(f"!!({expression})"):
            assert time.monotonic() < limit, f"not seen within {seconds} s: {expression}"
            time.sleep(0.2)


@contextmanager
def running(command: list[str], **options):
    "A process that ends with the block."
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(address: str, seconds: float = 60) -> bytes:
    limit = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return reply.read()
        except OSError:
            assert time.monotonic() < limit, f"no answer from {address}"
            time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    "A browser beside a JupyterLab server whose root is a copy of the tutorials."
    browser = next((b for name in ("chromium", "chromium-browser", "google-chrome") if (b := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium: apt-get install chromium")
    box = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "nbs" / "tutorials", box / "tutorials", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    env = {k: v for k, v in os.environ.items() if k not in ("LINEUPIQ_DATA_DIR", "IN_TEST")} | {
        "JUPYTER_CONFIG_DIR": str(box / "config"),
        "JUPYTER_RUNTIME_DIR": str(box / "runtime"),
        "IPYTHONDIR": str(box / "ipython"),
        "TMPDIR": str(box),
        "LINEUPIQ_TRACKING_URI": "off",
        "LINEUPIQ_LEDGER": str(box / "looks.jsonl"),
    }
    port, debug = free_port(), free_port()
    lab = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={box}",
        "--IdentityProvider.token=seen",
        "--expose-app-in-browser",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
    ]
    look = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--remote-debugging-port={debug}",
        f"--user-data-dir={box / 'browser'}",
        "--window-size=1280,1600",
        "about:blank",
    ]
    with (
        running(lab, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        running(look, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    ):
        answers(f"http://127.0.0.1:{port}/api?token=seen")
        first = next(t for t in json.loads(answers(f"http://127.0.0.1:{debug}/json/list")) if t["type"] == "page")
        page = Tab(first["webSocketDebuggerUrl"])
        page.lab = f"http://127.0.0.1:{port}/lab"
        yield page


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_runs_in_jupyterlab_and_shows_its_pictures(tab, path):
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)  # what nobody looks at has no current notebook
    tab.call("Page.navigate", url=f"{tab.lab}/workspaces/{path.stem}/tree/tutorials/{path.name}?token=seen&reset")
    panel = "globalThis.jupyterapp?.shell?.currentWidget"
    tab.wait(f"{panel}?.context?.isReady && {panel}.sessionContext?.session?.kernel?.status === 'idle'")
    tab.value("jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => 1)")
    tab.value("jupyterapp.commands.execute('notebook:run-all-cells').then(() => 1)")
    tab.wait(f"{panel}.sessionContext.session.kernel.status === 'idle'", 3000)
    cells = [c for c in tab.value(f"{panel}.content.model.toJSON()")["cells"] if c["cell_type"] == "code"]
    # warnings that the page is about
    told = {c["id"] for c in make_pages.read(path)["cells"] if any(o.get("name") == "stderr" for o in c.get("outputs", []))}
    said = [
        (c["source"], o)
        for c in cells
        for o in c["outputs"]
        if o["output_type"] == "error" or o.get("name") == "stderr" and make_pages.kept(o) and c["id"] not in told
    ]
    assert said == [], "a red box"
    assert all(c["execution_count"] for c in cells if "".join(c["source"]).strip()), "a cell did not run"
    shown, stored = (
        [len(make_pages.images(c)) for c in some if make_pages.ALT.search(make_pages.source(c))]
        for some in (cells, make_pages.read(path)["cells"])
    )
    assert shown == stored and sum(shown) >= 1
    assert tab.value("document.querySelectorAll('.jp-OutputArea-output img').length") >= 1
    tab.value(f"{panel}.sessionContext.shutdown().then(() => 1)")
