"""A served model: its answers, its page, and what it refuses."""

import asyncio
import base64
import http.client
import io
import json
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from browser import needs_browser, opened_page
from commands import REPOSITORY, run, start
from mlflow.pyfunc import scoring_server
from PIL import Image
from servers import serving_app
from stores import look_into, runs_in

from bloodcell.serving.app import ServedFacts, make_app
from bloodcell.serving.limits import Limits, RefusedRequest, Worker
from bloodcell.serving.page import ModelFacts, section, to_html
from bloodcell.smears import CLASSES
from bloodcell.tracking.served import ChosenModel, choose_model
from bloodcell.tracking.store import Store

TRAIN = [
    *("data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph", "baselines=[]"),
    *("backbone=morphology", "head=probe"),
]
LIMITS = Limits(megabytes=2, images=20, megapixels=20, seconds=120, waiting=8)
TOKEN = "a token of a person"
JSON = {"Content-Type": "application/json"}


class Kept(NamedTuple):
    """A run that kept a model, and image files."""

    folder: Path
    run_id: str
    images: list[Path]


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@pytest.fixture(scope="module")
def kept(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    completed = run(["train", "data=bccd", f"data.root={bccd}", *TRAIN], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    noise = folder / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(noise)
    (folder / "broken.jpeg").write_bytes(b"no image")
    images = [next((bccd / "TEST" / name).iterdir()) for name in ("EOSINOPHIL", "NEUTROPHIL")]
    (only,) = runs_in(folder)
    return Kept(folder, only.info.run_id, [*images, noise, folder / "broken.jpeg"])


@pytest.fixture(scope="module")
def chosen(kept) -> ChosenModel:
    look_into(kept.folder)
    uri = f"sqlite:///{kept.folder / 'mlruns' / 'mlflow.db'}"
    store = Store(uri=uri, artifacts=kept.folder / "mlruns" / "artifacts", named_by="tracking.dir")
    return choose_model(store, run=kept.run_id, model=None)


def app_of(chosen: ChosenModel, *, limits: Limits = LIMITS, card: str | None = None, **access: Any) -> Any:
    served = ServedFacts(
        model=chosen.stored.interface,
        network=chosen.stored.model,
        serving=chosen.stored.serving,
        facts=ModelFacts(name=chosen.name, card=card or chosen.card),
    )
    return make_app(served, **{"host": "127.0.0.1", "hosts": (), "token": None} | access, limits=limits)


@pytest.fixture(scope="module")
def port(chosen):
    with serving_app(app_of(chosen)) as port:
        yield port


@pytest.fixture(scope="module")
def guarded(chosen):
    """The port of a server that needs a token."""
    with serving_app(app_of(chosen, host="0.0.0.0", hosts=("cells.example.org",), token=TOKEN)) as port:
        yield port


def ask(port: int, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, names)
    response = connection.getresponse()
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    connection.close()
    return answer


def post(port: int, body: bytes | str, path: str = "/predict", **headers: str) -> Answer:
    return ask(port, "POST", path, body, **{"Content-Type": "application/json"} | headers)


def asking(contents: list[bytes], *, columns: tuple[str, ...] = ("image",), **params: float) -> str:
    rows = [[base64.b64encode(content).decode(), *(f"={name}" for name in columns[1:])] for content in contents]
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}, "params": params})


def test_predict_answers_as_mlflow_models_serve(kept, chosen, port):
    contents = [path.read_bytes() for path in kept.images]
    with serving_app(scoring_server.init(chosen.stored.interface)) as other:
        for body in (
            asking(contents),
            asking(contents, max_error=0.9),
            asking([]),
            json.dumps({"inputs": {"image": [base64.b64encode(contents[0]).decode()]}}),
            json.dumps({"dataframe_records": [{"image": base64.b64encode(contents[1]).decode()}]}),
        ):
            ours, theirs = post(port, body), post(other, body, "/invocations")
            assert (ours.status, theirs.status) == (200, 200)
            assert b"NaN" not in ours.body
            pd.testing.assert_frame_equal(
                pd.DataFrame(ours.json["predictions"]).fillna(np.nan),
                pd.DataFrame(theirs.json["predictions"]),
                check_dtype=False,
            )
        for wrong in (
            "{}",
            '{"dataframe_split": {"columns": ["other"], "data": [["x"]]}}',
            "[1]",
            "{",
            asking([], max_error=3),
        ):
            assert (post(port, wrong).status, post(other, wrong, "/invocations").status) == (400, 400), wrong


def test_a_batch_is_answered_as_csv(kept, port):
    body = asking([path.read_bytes() for path in kept.images], columns=("image", "path"))
    answer = post(port, body, Accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = pd.read_csv(io.BytesIO(answer.body), keep_default_na=False)
    assert list(table)[:4] == ["path", "answer", "why", "predicted"]
    assert table["path"].tolist() == ["'=path"] * len(kept.images)  # a spreadsheet computes nothing
    assert table["answer"].tolist()[2:] == ["unlike the training images", "cannot be read"]


@pytest.mark.slow  # a model without a network is explained by many predictions
def test_a_heat_map_is_two_pictures(kept, port):
    buffer = io.BytesIO()
    Image.open(kept.images[0]).resize((80, 60)).save(buffer, "TIFF")  # which browsers do not show
    answer = ask(port, "POST", "/explain", buffer.getvalue(), Content_Type="application/octet-stream")
    assert answer.status == 200
    assert answer.json["explained"] in CLASSES
    for name in ("photograph", "heat"):
        picture = Image.open(io.BytesIO(base64.b64decode(answer.json[name].partition(",")[2])))
        assert (picture.format, picture.size) == ("JPEG", (80, 60))
    broken = ask(port, "POST", "/explain", b"no image", Content_Type="application/octet-stream")
    assert (broken.status, broken.json["message"]) == (422, "cannot be read: not an image")


def bomb(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def test_hostile_requests_are_refused_with_one_line_and_the_server_goes_on(kept, port):
    cell = kept.images[0].read_bytes()
    huge = bomb(9000)
    assert len(huge) < 20_000
    refused = {
        413: [asking([b""] * 21), asking([bomb(4000)] * 2), b" " * 2_100_000],
        400: [b"\xff\xfe", "[" * 100_000, json.dumps({"dataframe_split": {"columns": ["image"], "data": [[3]]}}), ""],
    }
    for status, bodies in refused.items():
        for body in bodies:
            answer = post(port, body)
            assert answer.status == status, (body[:80], answer.body)
            assert "\n" not in answer.json["message"]
            assert len(answer.json["message"]) < 600
    assert post(port, asking([cell]), Content_Type="text/plain").status == 415
    assert post(port, "", path="/nowhere").status == 404
    assert ask(port, "DELETE", "/predict").status == 405
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "100000000000")
    connection.endheaders()
    assert connection.getresponse().status == 413  # before anything is received
    connection.close()
    table = pd.DataFrame(post(port, asking([huge, b"", b"GIF89a", cell])).json["predictions"])
    assert (table["answer"] == "cannot be read").tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Host": "192.168.1.7"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST.:99"}, 200),
        ({"Host": "[::1]:80"}, 200),
    ],
)
def test_a_foreign_host_is_refused(port, headers, status):
    assert ask(port, "GET", "/", **headers).status == status


def test_a_page_of_another_site_cannot_ask(kept, port):
    body = asking([kept.images[0].read_bytes()])
    assert post(port, body, Origin="http://evil.example").status == 403
    assert post(port, body, Origin="null").status == 403
    assert post(port, body, Sec_Fetch_Site="cross-site").status == 403
    assert post(port, body, Origin=f"http://127.0.0.1:{port}").status == 200
    answer = ask(port, "GET", "/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


def test_without_the_token_nothing_of_the_model_is_answered(kept, guarded):
    body = asking([kept.images[0].read_bytes()])
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "bloodcell_0=x"},
    ):
        for answer in (post(guarded, body, **headers), ask(guarded, "GET", "/page.js", **headers)):
            assert answer.status == 401
        page = ask(guarded, "GET", "/", **headers)
        assert page.status == 401
        assert b"EOSINOPHIL" not in page.body
    assert post(guarded, body, Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(guarded, "GET", "/health").status == 200
    assert ask(guarded, "GET", "/health", Host="cells.example.org").status == 200
    assert ask(guarded, "GET", "/health", Host="192.168.1.7").status == 200
    assert ask(guarded, "GET", "/health", Host="evil.example").status == 421


def test_a_browser_logs_in_once_by_the_printed_address_or_the_form(guarded):
    by_address = ask(guarded, "GET", f"/?token={TOKEN.replace(' ', '%20')}")
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    by_form = ask(guarded, "POST", "/login", f"token={TOKEN.replace(' ', '+')}", **form)
    for answer in (by_address, by_form):
        assert (answer.status, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        page = ask(guarded, "GET", "/", Cookie=cookie.partition(";")[0])
        assert b"EOSINOPHIL" in page.body
    assert ask(guarded, "GET", "/?token=wrong").status == 401
    assert b"This token is wrong." in ask(guarded, "POST", "/login", "token=wrong", **form).body


def test_a_request_that_takes_too_long_or_finds_the_server_busy_is_given_up():
    worker = Worker(Limits(megabytes=1, images=1, megapixels=1, seconds=0.2, waiting=2))
    started, release = threading.Event(), threading.Event()

    def slow(_body: bytes, _deadline: object) -> str:
        started.set()
        release.wait(10)
        return "done"

    async def body(*chunks: bytes, seconds: float = 0.0):
        for chunk in chunks:
            yield chunk
        await asyncio.sleep(seconds)

    async def status(*chunks: bytes, seconds: float = 0.0) -> int:
        try:
            await worker.serve(body(*chunks, seconds=seconds), slow)
        except RefusedRequest as refused:
            return refused.status
        return 200

    async def all_of_them() -> list[int]:
        found = [await status(b"x" * 2_000_000), await status(b"x", seconds=5)]
        found += await asyncio.gather(status(b"x"), status(b"x"), status(b"x"))
        found.append(await status(b"x"))  # the first is still being worked on, but the second never started
        release.set()
        await asyncio.sleep(0.1)
        found.append(await status(b"x"))
        return found

    assert asyncio.run(all_of_them()) == [413, 408, 504, 504, 503, 504, 200]
    worker.close()


def test_the_page_says_what_the_model_is_for_from_its_card(chosen, port):
    page = ask(port, "GET", "/").body.decode()
    assert "Not for: diagnosis, screening, treatment, or any decision about a person." in page
    assert "Warning, single training: this run was trained once" in page
    assert not re.search(r"""(?:src|href)=["'](?!/page\.|data:,)""", page)


def test_a_card_from_a_registry_runs_and_loads_nothing(chosen):
    card = (
        "# <script>x</script>\n\n- ![i](http://evil/i.png) [l](javascript:x) <http://evil>\n\n"
        "## Intended use\n\n<img src=x onerror=x>\n\n## Next\n\n&lt;b>"
    )
    page = ask_page(app_of(chosen, card=card))
    assert "<img src=x" not in page
    assert "<script>x" not in page
    assert not re.search(r"""(?:src|href)=["'](?!/page\.|data:,)""", page)
    assert section(card, "Intended use") == "<img src=x onerror=x>"
    assert to_html("# A").startswith("<h3>")


def ask_page(app: Any) -> str:
    with serving_app(app) as port:
        return ask(port, "GET", "/").body.decode()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=unknown"], "run=unknown: "),
        (["model=models:/none@best"], "model=models:/none@best: cannot be loaded"),
        ([], "exactly one of run=ID and model=ADDRESS"),
        (["run={run}", "host=192.0.2.1"], "port=0: cannot be opened on 192.0.2.1"),
        (["run={run}", "host=no.such.name.invalid"], "host=no.such.name.invalid: "),
        (["run={run}", "limits.images=0"], "limits.images=0"),
    ],
)
def test_a_users_error_is_one_line(kept, words, message, tmp_path):
    filled = [word.format(run=kept.run_id) for word in words]
    result = run(["serve", *filled, "port=0", f"tracking.dir='{kept.folder / 'mlruns'}'"], cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_and_a_short_token_are_refused(kept, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        result = run(["serve", f"run={kept.run_id}", f"port={number}"], cwd=kept.folder)
    assert (result.returncode, result.stderr.startswith(f"bloodcell: port={number}: ")) == (2, True)
    monkeypatch.setenv("BLOODCELL_TOKEN", "short")
    result = run(["serve", f"run={kept.run_id}", "port=0"], cwd=kept.folder)
    assert (result.returncode, result.stderr.startswith("bloodcell: BLOODCELL_TOKEN: ")) == (2, True)


@contextmanager
def served_by(command: Any) -> Iterator[str]:
    """Give the address that a server prints, and end it."""
    try:
        line = command.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, (line, command.communicate(timeout=30))
        yield found[0]
    finally:
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=60)


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_made_and_printed(kept):
    command = start(["serve", f"run={kept.run_id}", "host=0.0.0.0", "port=0"], cwd=kept.folder, PYTHONUNBUFFERED="1")
    with served_by(command) as address:
        port, token = re.search(r":(\d+)/\?token=(\S+)$", address).groups()
        assert ask(int(port), "GET", "/").status == 401
        assert ask(int(port), "GET", "/", Authorization=f"Bearer {token}").status == 200
    assert command.returncode == 0


@pytest.mark.slow
def test_what_the_container_runs_serves_the_best_model(kept, tmp_path):
    """There is no container here: the command of the file is run, with the store of the documentation's example."""
    lines = (REPOSITORY / "Containerfile.serve").read_text(encoding="utf-8").splitlines()
    (entry,) = (json.loads(line.removeprefix("ENTRYPOINT ")) for line in lines if line.startswith("ENTRYPOINT"))
    (check,) = (line.partition(" CMD ")[2] for line in lines if line.startswith("HEALTHCHECK"))
    registered = run(["register", f"run={kept.run_id}", "alias=best", "force=true"], cwd=kept.folder)
    assert registered.returncode == 0, registered.stderr
    assert entry[:2] == ["bloodcell", "serve"]
    command = start([*entry[1:], "port=0"], cwd=kept.folder, PYTHONUNBUFFERED="1", BLOODCELL_TOKEN=TOKEN)
    with served_by(command) as address:
        port = int(address.rpartition(":")[2].strip("/"))
        page = ask(port, "GET", "/", Authorization=f"Bearer {TOKEN}").body.decode()
        assert "bloodcell, version 1" in page
        assert post(port, asking([kept.images[0].read_bytes()]), Authorization=f"Bearer {TOKEN}").status == 200
        program = json.loads(check)[2]
        assert ":5002/health" in program
        exec(program.replace(":5002/", f":{port}/"), {})  # raises an error unless it is healthy


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_works_by_keyboard_and_for_screen_readers(kept, port, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened_page(viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files"
        with page.expect_file_chooser() as choosing:
            page.locator("#files").press("Enter")
        choosing.value.set_files(kept.images[1:])
        page.locator("#list li").nth(2).wait_for()
        page.locator("figure + figure").wait_for(timeout=120_000)
        assert page.inner_text("#progress").startswith("3 images: ")
        assert page.locator(".verdict").all_inner_texts()[1:] == ["Unlike the training images", "No answer"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        with page.expect_download() as downloading:
            page.locator("#csv").press("Enter")
        table = pd.read_csv(downloading.value.path(), keep_default_na=False, encoding="utf-8-sig")
        assert table["path"].tolist() == [path.name for path in kept.images[1:]]
        assert complaints == []
        page.locator("summary").press("Enter")
        assert Axe().run(page).response["violations"] == []
        page.evaluate("settings.images = 4")
        page.set_input_files("#files", [kept.images[0]] * 2)
        assert "at most 4 at a time" in page.inner_text("#problem")


@needs_browser
def test_the_token_is_asked_for_once_in_a_browser(guarded):
    from axe_playwright_python.sync_playwright import Axe

    with opened_page(viewport={"width": 390, "height": 800}) as page:
        page.goto(f"http://127.0.0.1:{guarded}/")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.locator("#wrong").wait_for()
        assert Axe().run(page).response["violations"] == []
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.locator("#drop").wait_for()
        page.reload()
        page.locator("#drop").wait_for()
        assert TOKEN not in page.url
