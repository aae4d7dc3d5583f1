import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

import pairstill
from pairstill.cli import main
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.distilled import DistilledSet
from pairstill.exchange.folder import write_export
from pairstill.exchange.hub import push

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as pushing and reading take: repositories, commits of plain files, and files."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.files, self.private, self.asked = {}, {}, []


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def answer(self, value, status=200, **headers):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub, path = self.server, urlsplit(self.path).path
        hub.asked.append(path)
        if path == "/api/repos/create":
            said = json.loads(body)
            if said.get("organization") == "nobody":
                return self.answer({"error": "no rights"}, 403)
            name = f"{said['organization']}/{said['name']}"
            hub.private[name] = said.get("private", said.get("visibility") == "private")
            return self.answer({"url": f"{constants.ENDPOINT}/datasets/{name}"})
        if path == "/api/validate-yaml":  # of the card
            return self.answer({"errors": [], "warnings": []})
        if "/preupload/" in path:
            files = [one["path"] for one in json.loads(body)["files"]]
            return self.answer(
                {"files": [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        for line in body.splitlines():
            one = json.loads(line)
            if one["key"] == "file":
                hub.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
        commit = f"{constants.ENDPOINT}/datasets/someone/pairs/commit/{COMMIT}"
        return self.answer({"commitUrl": commit, "commitOid": COMMIT})

    def do_GET(self):
        hub, path = self.server, urlsplit(self.path).path
        hub.asked.append(path)
        if path == "/":
            return self.answer(b"")
        if path.startswith("/api/datasets/someone/pairs/"):
            if "/tree/" in path:
                return self.answer(
                    [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in hub.files.items()]
                )
            siblings = [{"rfilename": name} for name in hub.files]
            return self.answer({"id": "someone/pairs", "sha": COMMIT, "siblings": siblings})
        content = hub.files.get(path.partition(f"/resolve/{COMMIT}/")[2])
        if content is None:
            return self.answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
        etag = hashlib.sha1(content).hexdigest()
        return self.answer(content, X_Repo_Commit=COMMIT, ETag=f'"{etag}"')

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in of the hub on this machine, and an empty cache."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_token_of_nobody")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("public", [False, True])
def test_a_set_that_was_pushed_is_read_to_the_bit(hub, make, same, tmp_path, public):
    distilled = make("mixed")
    write_export(distilled, "parquet", tmp_path / "out", "# A card\n", None)
    assert push(tmp_path / "out", "someone/pairs", public=public)
    assert hub.private == {"someone/pairs": not public}
    assert hub.files["README.md"] == b"# A card\n"
    for name in ("hf://someone/pairs", Path("hf://someone/pairs"), f"hf://someone/pairs@{COMMIT}"):
        assert same(pairstill.load_set(name), distilled)


def test_a_set_is_found_in_the_cache_without_the_hub(hub, make, same, tmp_path, monkeypatch):
    write_export(make(), "parquet", tmp_path / "out", "", None)
    push(tmp_path / "out", "someone/pairs", public=False)
    pairstill.load_set("hf://someone/pairs")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert same(pairstill.load_set("hf://someone/pairs"), make())
    with pytest.raises(ArtifactError, match="someone/others cannot be had from the hub"):
        pairstill.load_set("hf://someone/others")


def test_what_the_hub_refuses(hub, make, tmp_path):
    write_export(make(), "parquet", tmp_path / "out", "", None)
    with pytest.raises(
        ArtifactError, match=r"not take .* as nobody/pairs .*`hf upload nobody/pairs .*/out \. --repo-type"
    ):
        push(tmp_path / "out", "nobody/pairs", public=False)
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("name", ["pairs", "a/b/c", "a b/c", ""])
def test_names_that_are_none(hub, tmp_path, capsys, name):
    with pytest.raises(ConfigError, match="is no repository of the hub; write OWNER/NAME"):
        push(tmp_path, name, public=False)
    with pytest.raises(ConfigError, match="write hf://OWNER/NAME"):
        pairstill.load_set(f"hf://{name}")
    assert main(["export", str(tmp_path), "--format=parquet", f"--out={tmp_path / 'o'}", f"--push={name}"]) != 0
    assert "is no repository of the hub" in capsys.readouterr().err
    assert hub.asked == []


def test_a_set_alone_says_who_reads_from_the_hub():
    with pytest.raises(ArtifactError, match=r"pairstill.load_set reads hf://someone/pairs"):
        DistilledSet.load("hf://someone/pairs")
