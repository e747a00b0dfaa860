"""Protects content credentials: what a file says of its making, that it's signed, and that a file
which is changed afterwards no longer passes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("c2pa", reason="fgdm[c2pa] is not installed")
pytest.importorskip("cryptography", reason="cryptography is not installed")

import c2pa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fgdm import RequestError, __version__
from fgdm.cli import command
from fgdm.credentials import Credentials
from PIL import Image

from tests.certificates import write_chain

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key, and its chain of certificates."""
    return write_chain(tmp_path_factory.mktemp("credentials"))


def told(content: bytes, form: str) -> tuple[dict[str, Any], list[str]]:
    """The manifest of a file, and what fails when it is checked."""
    with c2pa.Reader(f"image/{form}", io.BytesIO(content)) as reader:
        everything = json.loads(reader.json())
    failures = everything["validation_results"]["activeManifest"]["failure"]
    manifest = everything["manifests"][everything["active_manifest"]]
    return manifest, [failure["code"] for failure in failures]


#: Nobody has heard of the root; all else holds.
UNKNOWN = ["signingCredential.untrusted"]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_file_says_what_made_it(form: str, pair: tuple[Path, Path]) -> None:
    buffer = io.BytesIO()
    picture = Image.radial_gradient("L").convert("RGB")
    picture.save(buffer, form.upper())
    signed = Credentials(*pair).sign(buffer.getvalue(), form, "scenes", composed=form == "jpeg")
    with Image.open(io.BytesIO(signed)) as opened, Image.open(buffer) as before:
        assert opened.convert("RGB").tobytes() == before.convert("RGB").tobytes()
    manifest, failures = told(signed, form)
    assert failures == UNKNOWN
    (maker,) = manifest["claim_generator_info"]
    assert (maker["name"], maker["version"]) == ("fgdm", __version__)
    (assertion,) = manifest["assertions"]
    (action,) = assertion["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["parameters"] == {"bundle": "scenes"}
    made = "compositeWithTrainedAlgorithmicMedia" if form == "jpeg" else "trainedAlgorithmicMedia"
    assert action["digitalSourceType"] == SOURCES + made
    assert manifest["signature_info"]["issuer"] == "painter"


def test_a_changed_file_does_not_pass(pair: tuple[Path, Path]) -> None:
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "JPEG")
    signed = bytearray(Credentials(*pair).sign(buffer.getvalue(), "jpeg", "scenes"))
    signed[-100] ^= 1
    assert "assertion.dataHash.mismatch" in told(bytes(signed), "jpeg")[1]


def test_what_cannot_sign_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    key, chain = pair
    with pytest.raises(RequestError, match="can't read the credentials' key"):
        Credentials(tmp_path / "absent.pem", chain)
    with pytest.raises(RequestError, match="can't sign as es256"):
        Credentials(chain, chain)
    with pytest.raises(RequestError, match="can't sign as ed25519"):
        Credentials(key, chain, "ed25519")
    with pytest.raises(RequestError, match="expected es256, es384"):
        Credentials(key, chain, "rsa")
    other = tmp_path / "other.pem"
    stranger = ec.generate_private_key(ec.SECP256R1())
    other.write_bytes(stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(RequestError, match="can't sign as es256"):
        Credentials(other, chain)


def test_the_command_signs(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fgdm._core", reason="the C++ core is not built")
    said = ["generate", "a boat", "--bundle", str(BUNDLE), "--output", str(tmp_path), "--quiet"]
    said += ["--candidates", "1", "--condition-steps", "1", "--num-inference-steps", "1"]
    said += ["--credentials-key", str(pair[0])]
    assert command.main(said) == 2
    assert "both --credentials-key and --credentials-certificate" in capsys.readouterr().err
    assert command.main([*said, "--credentials-certificate", str(pair[1])]) == 0
    manifest, failures = told((tmp_path / "image.png").read_bytes(), "png")
    assert failures == UNKNOWN
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["digitalSourceType"] == SOURCES + "trainedAlgorithmicMedia"
