"""Content credentials: a signed statement in a picture's file of what made it (C2PA).

    from fgdm.credentials import Credentials

    credentials = Credentials("key.pem", "chain.pem")
    signed = credentials.sign(png_bytes, "png", bundle="scenes")

The key and the certificates are the user's. Verifiers trust the statement if they trust the
certificate's issuer; anyone can take it out of the file. Needs ``fgdm[c2pa]``.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from fgdm import __version__
from fgdm.errors import BackendError, RequestError
from fgdm.files import read_regular
from fgdm.picture_files import png
from PIL import Image

try:
    import c2pa
except ImportError as error:
    raise BackendError(
        f"content credentials need c2pa-python, which can't be imported ({error!s:.200}); run: "
        "pip install 'fgdm[c2pa]'"
    ) from error

#: Signature algorithms of C2PA 2.
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")

#: IPTC's word for what a generative model made of no other picture, and of one.
_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_COMPOSED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

#: Bytes of a key, and of certificates.
_MOST_BYTES = 2**20


class Credentials:
    """Signs files with a key. Any thread may use it.

    key: a private key, PEM (PKCS#8) without a password. certificate: its certificate and those
    above it, PEM, the key's own first, as C2PA asks of them (digitalSignature, and an extended use
    such as emailProtection). algorithm: one of ALGORITHMS, that of the key.

    Raises RequestError for files that can't be read or used.
    """

    def __init__(
        self,
        key: str | os.PathLike[str],
        certificate: str | os.PathLike[str],
        algorithm: str = "es256",
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise RequestError(
                f"the credentials' algorithm is {algorithm!r:.60}, expected {', '.join(ALGORITHMS)}"
            )
        self._algorithm = algorithm
        self._key, self._chain = _read("key", key), _read("certificate", certificate)
        try:
            self._signed(png(Image.new("L", (1, 1))), "png", {})
        except c2pa.C2paError as error:
            raise RequestError(
                f"the credentials' key {os.fspath(key)!r:.200} and certificate "
                f"{os.fspath(certificate)!r:.200} can't sign as {algorithm}: {error!s:.300}"
            ) from None

    def sign(self, content: bytes, form: str, bundle: str, composed: bool = False) -> bytes:
        """The file with a manifest in it, which names fgdm and its version, the bundle, and IPTC's
        digital source type.

        content: a picture's file. form: "png", "jpeg" or "webp". composed: whether it was made from
        another picture. Raises BackendError where the library fails.
        """
        action: dict[str, object] = {
            "digitalSourceType": _COMPOSED if composed else _MADE,
            "parameters": {"bundle": bundle},
        }
        try:
            return self._signed(content, form, action)
        except c2pa.C2paError as error:
            raise BackendError(
                f"the picture's credentials can't be signed: {error!s:.300}"
            ) from None

    def _signed(self, content: bytes, form: str, more: dict[str, object]) -> bytes:
        info = c2pa.C2paSignerInfo(self._algorithm, self._chain, self._key, None)
        signed = io.BytesIO()
        with c2pa.Signer.from_info(info) as signer, _builder(more) as builder:
            builder.sign(signer, f"image/{form}", io.BytesIO(content), signed)
        return signed.getvalue()


def _builder(more: dict[str, object]) -> Any:
    """Of a manifest without a thumbnail, which may be larger than the picture."""
    settings = {"builder": {"thumbnail": {"enabled": False}}}
    made = {"name": "fgdm", "version": __version__}
    action: dict[str, object] = {
        "action": "c2pa.created",
        "digitalSourceType": _MADE,
        "softwareAgent": made,
    }
    manifest = {
        "claim_generator_info": [made],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action | more]}}],
    }
    return c2pa.Builder.from_json(manifest, context=c2pa.Context.from_dict(settings))


def _read(what: str, path: str | os.PathLike[str]) -> bytes:
    try:
        return read_regular(Path(path), _MOST_BYTES)
    except OSError as error:
        raise RequestError(
            f"can't read the credentials' {what} {os.fspath(path)!r:.200}: "
            f"{error.strerror or error}"
        ) from None
