"""The explorer's server: who may ask, and for what."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from explorers import TOKEN, explored, serving

from bloodcell.explorer.marks import MARKS


@pytest.fixture(scope="module")
def server(bccd, tmp_path_factory):
    with serving(bccd, tmp_path_factory.mktemp("marks")) as asking:
        yield asking


@pytest.mark.parametrize(
    "path", ["/", "/items.json", "/wrong/", f"/{TOKEN}x/items.json", f"/{TOKEN[:-1]}/items.json", f"//{TOKEN}/"]
)
def test_an_address_without_the_token_is_refused(server, path):
    assert server.ask(path)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "192.168.1.7", "127.0.0.1.evil.example"])
def test_another_host_name_is_refused(server, host):
    assert server.ask(f"/{TOKEN}/items.json", Host=host)[0] == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1"])
def test_another_page_is_refused(server, origin):
    body = {"kind": "not a cell", "rows": [0]}
    assert server.ask(f"/{TOKEN}/marks", method="POST", body=body, Origin=origin)[0] == 403
    assert server.json("marks")["not_a_cell"] == []


@pytest.mark.parametrize(
    "path",
    [
        "thumbnail/100000",
        "image/-1",
        "image/../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "address.py",
        "image/x",
        "map/x",
        "reader/x/0",
    ],
)
def test_nothing_else_is_served(server, path):
    assert server.ask(f"/{TOKEN}/{path}")[0] == 404


def test_the_page_loads_only_from_its_own_server(server):
    status, page, headers = server.ask(f"/{TOKEN}/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert b"//" not in page.replace(b"<!doctype html>", b"")
    assert server.ask(f"/{TOKEN}/main.js")[2]["content-type"].startswith("text/javascript")


def test_an_image_is_addressed_by_its_row(server, bccd):
    path = server.json("image/7/facts")["path"]
    assert path == server.items.table["path"][7]
    shown = cv2.imdecode(np.frombuffer(server.ask(f"/{TOKEN}/image/7")[1], np.uint8), cv2.IMREAD_COLOR)
    original = cv2.imread(str(bccd / path))
    assert np.abs(shown.astype(int) - original).mean() < 3
    small = cv2.imdecode(np.frombuffer(server.ask(f"/{TOKEN}/thumbnail/7")[1], np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (156, 208, 3)


@pytest.mark.parametrize("path", ["../secret.jpeg", "/secret.jpeg", "link.jpeg"])
def test_a_table_that_names_a_file_outside_the_images_gets_none(bccd, tmp_path, path):
    root = tmp_path / "images"
    root.mkdir()
    first = next(bccd.glob("TRAIN/*/*.jpeg"))
    (tmp_path / "secret.jpeg").write_bytes(first.read_bytes())
    (root / "link.jpeg").symlink_to(tmp_path / "secret.jpeg")
    items = explored(bccd)
    named = str(tmp_path / "secret.jpeg") if path.startswith("/") else path
    items = replace(items, table=items.table.assign(path=[named, *items.table["path"][1:]]))
    with serving(root, tmp_path / "marks", items=items) as asking:
        assert asking.ask(f"/{TOKEN}/image/0")[0] == 404
        assert asking.ask(f"/{TOKEN}/thumbnail/0")[0] == 404


def test_marks_of_the_page_are_kept_and_impossible_ones_refused(server):
    assert server.json("marks", {"kind": "not a cell", "rows": [1, 2]})["not_a_cell"] == [1, 2]
    assert server.ask(f"/{TOKEN}/marks", method="POST", body={"kind": "not a cell", "rows": [10**9]})[0] == 400
    assert server.ask(f"/{TOKEN}/marks", method="POST", body=[1])[0] == 400
    assert server.json("marks", {"kind": "remove", "rows": [1, 2]})["not_a_cell"] == []
    assert set(server.json("export", {})) == {"marks.csv"}


def test_a_photograph_of_a_reading_has_no_name(server):
    begun = server.json("reader", {"do": "start"})
    status, _, headers = server.ask(f"/{TOKEN}/reader/{begun['id']}/0")
    assert status == 200
    assert not [value for value in headers.values() if ".jpeg" in value]
    server.json("reader", {"do": "answer", "id": begun["id"], "number": 0, "answer": "unsure"})
    assert len(server.json("reader", {"do": "result", "id": begun["id"]})["shown"]) == 1
    assert (
        server.ask(
            f"/{TOKEN}/reader", method="POST", body={"do": "answer", "id": begun["id"], "number": 999, "answer": 0}
        )[0]
        == 400
    )


def test_a_map_and_neighbours_are_computed_when_they_are_asked_for(server):
    for _ in range(600):
        found = server.json("map/pca")
        if found["state"] != "computing":
            break
        server.ask(f"/{TOKEN}/")
    assert found["state"] == "ready"
    assert len(found["x"]) == len(found["novelty"]) == len(server.items)
    assert 0 <= min(found["x"]) <= max(found["x"]) <= 1
    near = server.json("image/0/neighbours")["rows"]
    assert 0 not in near
    assert len(set(near)) == len(near) == 12


def test_a_mark_is_on_the_disk_before_it_is_answered(bccd, tmp_path):
    with serving(bccd, tmp_path) as asking:
        asking.json("marks", {"kind": "label wrong", "rows": [5], "label": ""})
        assert json.loads((tmp_path / MARKS).read_text())["paths"] == [asking.items.table["path"][5]]
