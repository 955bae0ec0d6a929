"""Images at s3://, memory:// and in zip files: read and written as those in folders, and refused in plain words."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import pytest
import torch

import veriscope as vs
from veriscope import stores
from veriscope.errors import DataError, ImageFormatError, OutputError, VeriscopeError
from veriscope.images.writing import open_writer
from veriscope.networks import build
from veriscope.networks.folder import save
from veriscope.networks.model import Ensemble
from veriscope.restoring.tofile import restore_to_file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
WHERE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL")


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """A bucket of a server of this machine."""
    pytest.importorskip("obstore")
    server_of = pytest.importorskip("moto.server")
    server = server_of.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(WHERE, ("key", "secret", "us-east-1", f"http://{host}:{port}"), strict=True):
            patch.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="lab")
        # Google's stores speak the same language, but for the keys, of which the server expects this word
        patch.setenv("GOOGLE_BASE_URL", os.environ["AWS_ENDPOINT_URL"])
        patch.setenv("GOOGLE_BEARER_TOKEN", "Credential=key/20200101/us-east-1/s3/aws4_request")
        yield "s3://lab"
    server.stop()


def image(seed: int = 0) -> vs.Image:
    pixels = np.random.default_rng(seed).integers(0, 1000, (3, 80, 70)).astype("uint16")
    return vs.Image(pixels, "ZYX", (0.3, 0.1, 0.1))


@pytest.mark.parametrize("place", ["s3", "gs", "memory", "zip", "ozx"])
def test_images_are_written_and_read_lazily_anywhere(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = {"memory": "memory://some/a.ome.zarr", "zip": tmp_path / "a.ome.zarr.zip", "ozx": tmp_path / "a.ozx"}
    lab = request.getfixturevalue("lab").replace("s3", place) if place in ("s3", "gs") else ""
    where = f"{lab}/folder-{place}/a.ome.zarr" if lab else address[place]
    vs.save_image(where, image())
    found = vs.read_image(where, lazy=True)
    assert found.is_lazy
    assert (found.name, found.axes, found.voxel_size) == ("a", "ZYX", (0.3, 0.1, 0.1))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(image()))
    np.testing.assert_array_equal(found.read(1, slice(2, 9)), np.asarray(image())[1, 2:9])
    with pytest.raises(OutputError, match=r"exists already"):
        vs.save_image(where, image(1))
    vs.save_image(where, image(1), overwrite=True)
    np.testing.assert_array_equal(np.asarray(vs.read_image(where)), np.asarray(image(1)))
    if place in ("zip", "ozx"):
        assert zipfile.ZipFile(where).namelist()[0].endswith("zarr.json")
        assert [path.name for path in tmp_path.iterdir()] == [Path(where).name]


def test_what_fails_or_is_cut_short_is_no_image(lab: str) -> None:
    with pytest.raises(DataError), open_writer(f"{lab}/b.ome.zarr", image()) as writer:
        writer.write([slice(None)] * 3, np.zeros((1, 1, 1), "uint16"))
    assert "b.ome.zarr" not in stores.names(lab)
    words = (
        f"import os, veriscope as vs, numpy as np; from veriscope.images.writing import open_writer\n"
        f"w = open_writer('{lab}/b.ome.zarr', vs.Image(np.zeros((80, 70), 'uint16'), 'YX'))\n"
        f"w.write([slice(0, 80), slice(0, 70)], np.ones((80, 70), 'uint16')); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", words], env=os.environ, check=False).returncode == -9
    with pytest.raises(ImageFormatError, match=r"s3://lab/b\.ome\.zarr' is .* not an OME-Zarr image"):
        vs.read_image(f"{lab}/b.ome.zarr")
    vs.save_image(f"{lab}/b.ome.zarr", image())  # nothing that must be kept lies there
    np.testing.assert_array_equal(np.asarray(vs.read_image(f"{lab}/b.ome.zarr")), np.asarray(image()))


def test_workers_that_were_killed_left_nothing_wrong_in_a_bucket(lab: str, tmp_path: Path) -> None:
    """Two workers write to it; they and the command are killed, and what is left is done with --resume."""
    pytest.importorskip("distributed")
    torch.manual_seed(0)
    recipe = vs.Recipe(axes="YX", depth=1, base=4)
    model = Ensemble(recipe, (build(recipe),))
    save(model, tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 1000, (480, 480)).astype("uint16")
    vs.save_image(f"{lab}/in.ome.zarr", vs.Image(pixels, "YX"))
    given = [f"{lab}/in.ome.zarr", "--model", str(tmp_path / "model"), "--tile", "24", "--workers", "2"]
    words = ["-c", "from veriscope.apps.start import main; main()", "restore", *given, "--out", f"{lab}/out.ome.zarr"]
    command = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = f"{lab}/out.ome.zarr.journal"
    while command.poll() is None and not any(name.startswith("done-") for name in stores.names(journal)):
        time.sleep(0.1)
    workers = psutil.Process(command.pid).children(recursive=True) if command.poll() is None else []
    for one in [command, *workers]:
        one.kill()
    assert workers, command.communicate()
    command.communicate()
    with pytest.raises(ImageFormatError, match="not an OME-Zarr image"):
        vs.read_image(f"{lab}/out.ome.zarr")
    image = vs.read_image(f"{lab}/in.ome.zarr", lazy=True)
    again = [word for word in words if word not in ("--workers", "2")]
    subprocess.run([sys.executable, *again, "--resume"], check=True, stdout=subprocess.DEVNULL)
    restore_to_file(image, model, tmp_path / "one.ome.zarr", tile=24, precision="float32")
    both = (np.asarray(vs.read_image(at)) for at in (f"{lab}/out.ome.zarr", tmp_path / "one.ome.zarr"))
    np.testing.assert_array_equal(*both)


def test_pairs_are_read_from_folders_of_a_bucket(lab: str) -> None:
    for number, name in enumerate(("one", "two")):
        for folder in ("low", "high"):
            vs.save_image(f"{lab}/pairs/{folder}/{name}.ome.zarr", image(number))
    pairs = vs.read_pairs(f"{lab}/pairs/low", f"{lab}/pairs/high", lazy=True)
    assert pairs.names == ["one", "two"]
    assert all(pair.low.is_lazy for pair in pairs)


def test_what_a_store_refuses_is_said_in_plain_words(lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageFormatError, match="There is no OME-Zarr at 's3://lab/nothing"):
        vs.read_image(f"{lab}/nothing.ome.zarr")
    with pytest.raises(ImageFormatError, match="There is no bucket 'nowhere'"):
        vs.read_image("s3://nowhere/a.ome.zarr")
    with pytest.raises(OutputError, match="There is no bucket 'nowhere'"):
        vs.save_image("s3://nowhere/a.ome.zarr", image())
    with pytest.raises(OutputError, match="can be read, not written"):
        vs.save_image("https://example.org/a.ome.zarr", image())
    with pytest.raises(OutputError, match="can only hold OME-Zarr"):
        vs.save_image(f"{lab}/a.ome.tif", image())
    with pytest.raises(ImageFormatError, match=r"cannot be (listed|reached)"):
        vs.read_pairs("https://127.0.0.1:9/low", "https://127.0.0.1:9/high")
    monkeypatch.setattr(stores, "_RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ImageFormatError, match=r"'s3://lab/a\.ome\.zarr' cannot be reached"):
        vs.read_image(f"{lab}/a.ome.zarr")


def test_keys_that_are_refused_are_named(lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that checks them; and data that are public are read without."""
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    for refused in (lambda: vs.read_image(f"{lab}/a.ome.zarr"), lambda: vs.save_image(f"{lab}/c.ome.zarr", image())):
        with pytest.raises(VeriscopeError, match=r"may not be used with these credentials\. Check AWS_ACCESS_KEY_ID"):
            refused()
    assert "There are no credentials" in str(stores.refusal("gs://lab/a", OSError("no credentials found")))
    assert "Set GOOGLE_APPLICATION" in str(stores.refusal("gs://lab/a", OSError("at http://metadata.google.internal")))
    assert stores.refusal("folder/a", PermissionError("AccessDenied")) is None


class Web(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/secret"):
            self.send_error(403)
        else:
            super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def web(folder: Path, certificate: Path | None = None) -> Iterator[str]:
    """A web server of this machine with the files of `folder`; with https where it has a certificate, made here."""
    pytest.importorskip("obstore")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Web, directory=str(folder))) as server:
        if certificate is not None:
            secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            secure.load_cert_chain(signed_by_itself(certificate))
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http{'' if certificate is None else 's'}://127.0.0.1:{server.server_port}"
        server.shutdown()


def signed_by_itself(file: Path) -> Path:
    """A certificate for 127.0.0.1 and its key, in `file`."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    signed = made.add_extension(here, critical=False).sign(key, hashes.SHA256())
    private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*private))
    return file


def test_images_are_read_from_a_web_server(tmp_path: Path) -> None:
    vs.save_image(tmp_path / "a.ome.zarr", image())
    with web(tmp_path) as here:
        found = vs.read_image(f"{here}/a.ome.zarr", lazy=True)
        np.testing.assert_array_equal(found.read(1, slice(2, 9)), np.asarray(image())[1, 2:9])
        with pytest.raises(ImageFormatError, match="cannot be listed"):
            vs.read_image(f"{here}/b.ome.zarr")
        with pytest.raises(ImageFormatError, match=r"does not give .* to everybody"):
            vs.read_image(f"{here}/secret/a.ome.zarr")


def test_images_are_read_from_a_secure_web_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a certificate that the whole world trusts, or with one of the institute's own, which must be named."""
    monkeypatch.setattr(stores, "_RETRIES", 0)
    vs.save_image(tmp_path / "a.ome.zarr", image())
    with web(tmp_path, certificate := tmp_path / "own.pem") as here:
        with pytest.raises(ImageFormatError, match=r"certificate of .* set SSL_CERT_FILE"):
            vs.read_image(f"{here}/a.ome.zarr")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        found = vs.read_image(f"{here}/a.ome.zarr", lazy=True)
        np.testing.assert_array_equal(found.read(1, slice(2, 9)), np.asarray(image())[1, 2:9])


def test_a_number_in_an_address_is_not_a_refusal() -> None:
    """403 and 401 count where the server says them, not in a port or in a time."""
    away = type("GenericError", (Exception,), {"__module__": "obstore.exceptions"})
    problem = away("Error performing GET http://lab:4030/a in 1.401 s - HTTP error: error sending request")
    assert "cannot be reached" in str(stores.refusal("http://lab:4030/a", problem))
