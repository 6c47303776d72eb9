"""A stand-in for the Hugging Face hub: the few endpoints that fetching, publishing and listing models need."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = (".safetensors",)


@dataclass
class Hub:
    """Repositories in memory: per repository its commits, oldest first, each a dict of files."""

    repos: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    tags: dict[tuple[str, str], int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    """File name -> bytes after which the connection breaks, once."""
    lies: dict[str, bytes] = field(default_factory=dict)
    """File name -> what is sent in its place."""
    meanwhile: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> files that somebody else commits, once, while a commit is being sent."""
    url: str = ""

    def add(self, repo, folder, *, more=None):
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.repos.setdefault(repo, []).append({**files, **(more or {})})
        return self.sha(repo, len(self.repos[repo]) - 1)

    def sha(self, repo, number):
        return hashlib.sha1(f"{repo} {number}".encode()).hexdigest()

    def find(self, repo, revision):
        commits = self.repos[repo]
        numbers = {self.sha(repo, n): n for n in range(len(commits))}
        numbers["main"] = len(commits) - 1
        numbers |= {tag: n for (of, tag), n in self.tags.items() if of == repo}
        return numbers.get(revision)

    def info(self, repo, number):
        files = self.repos[repo][number]
        head = files.get("README.md", b"").decode().split("---\n")
        card = yaml.safe_load(head[1]) if len(head) > 2 else {}
        siblings = []
        for name, content in files.items():
            entry = {"rfilename": name, "size": len(content), "blobId": git_blob(content)}
            if name.endswith(LARGE):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 9}
            siblings.append(entry)
        names = {"id": repo, "modelId": repo, "sha": self.sha(repo, number), "private": repo in self.private}
        more = {"tags": card.get("tags", []), "downloads": 3, "lastModified": "2026-01-02T03:04:05.000Z"}
        return {**names, **more, "cardData": card, "siblings": siblings}


def git_blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, content=b"", *, status=200, headers=None, length=None):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code, *, status=404):
        self.answer({"error": code}, status=status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def parts(self):
        self.hub.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts, query = self.parts(), parse_qs(urlsplit(self.path).query)
        if parts == ["api", "models"]:
            owner, tag = query.get("author", [""])[0], query.get("filter", [""])[0]
            found = [self.hub.info(repo, len(commits) - 1) for repo, commits in self.hub.repos.items()]
            self.answer([i for i in found if tag in i["tags"] and i["id"].startswith(owner)])
            return
        is_api = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if is_api else parts[:2])
        if repo not in self.hub.repos:
            self.refuse("RepoNotFound")
            return
        revision = parts[5] if is_api and len(parts) > 5 else parts[3] if not is_api else "main"
        number = self.hub.find(repo, revision)
        if number is None:
            self.refuse("RevisionNotFound")
        elif is_api:
            self.answer(self.hub.info(repo, number))
        else:
            self.send_file(repo, number, "/".join(parts[4:]))

    def send_file(self, repo, number, name):
        files = self.hub.repos[repo][number]
        if name not in files:
            self.refuse("EntryNotFound")
            return
        content = files[name]
        large = name.endswith(LARGE)
        etag = hashlib.sha256(content).hexdigest() if large else git_blob(content)
        headers = {"X-Repo-Commit": self.hub.sha(repo, number), "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        content, status = self.hub.lies.get(name, content), 200
        asked = self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        if self.command == "GET" and name in self.hub.cut:
            whole, content = len(content), content[: self.hub.cut.pop(name)]
            self.answer(content, status=status, headers=headers, length=whole)
            self.close_connection = True
            return
        self.answer(content, status=status, headers=headers)

    def do_POST(self):
        parts, body = self.parts(), self.body()
        if "authorization" not in self.headers and parts != ["api", "validate-yaml"]:
            self.refuse("Unauthorized", status=401)
        elif parts == ["api", "validate-yaml"]:
            self.answer({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif parts[4:5] == ["preupload"]:
            repo = "/".join(parts[2:4])
            if repo in self.hub.meanwhile:
                self.hub.repos[repo].append({**self.hub.repos[repo][-1], **self.hub.meanwhile.pop(repo)})
            files = [{**f, "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
                     for f in json.loads(body)["files"]]  # fmt: skip
            self.answer({"files": files})
        elif parts[-2:] == ["objects", "batch"]:
            objects = [{**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}}
                       for o in json.loads(body)["objects"]]  # fmt: skip
            self.answer({"transfer": "basic", "objects": objects})
        elif parts[4:5] == ["commit"]:
            self.commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])
        else:
            self.refuse("EntryNotFound")

    def create(self, asked):
        repo = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
        exists = repo in self.hub.repos
        self.hub.repos.setdefault(repo, [{}])
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repo)
        self.answer({"url": f"{self.hub.url}/{repo}"}, status=409 if exists else 200)

    def commit(self, repo, lines):
        files = dict(self.hub.repos[repo][-1])
        seen = next(line["value"].get("parentCommit") for line in lines if line["key"] == "header")
        if seen not in (None, self.hub.sha(repo, len(self.hub.repos[repo]) - 1)):
            self.answer({"error": "A commit has happened since. Please refresh and try again."}, status=412)
            return
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.hub.uploads[line["value"]["oid"]]
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        self.hub.repos[repo].append(files)
        oid = self.hub.sha(repo, len(self.hub.repos[repo]) - 1)
        self.answer({"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def do_PUT(self):
        parts, body = self.parts(), self.body()
        assert hashlib.sha256(body).hexdigest() == parts[1]
        self.hub.uploads[parts[1]] = body
        self.answer()


@contextmanager
def serving():
    """Yield a hub that answers at its ``url``."""
    hub = Hub()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
