"""Why a TLS handshake failed, in words for the administrator."""

import ssl
from typing import Final

_NO_TLS = "no TLS: the peer does not speak it on this port"
_OLD_TLS = "the peer offers nothing newer than TLS 1.1"
_NO_CIPHER = "no cipher suite in common; the peer's TLS is too old or its key of another kind"
_HUNG_UP = "the peer hung up in the TLS handshake; its log says why"
# OpenSSL's reasons for an error of its own, in words
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate: the peer showed none",
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "VERSION_TOO_LOW": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer wants another version of TLS than 1.2 or 1.3",
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CIPHER,
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": _HUNG_UP,
}
# Alerts by which a peer says that it does not trust the certificate it was shown (RFC 8446 6.2)
_DISTRUST: Final = (
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "DECRYPT_ERROR",  # an authority of the same name and another key
    "ACCESS_DENIED",
    "CERTIFICATE_REQUIRED",
)
_FOREIGN = "is from an authority that is not in tls.ca"
_SELF_SIGNED = "is self-signed and not in tls.ca"
# What OpenSSL finds wrong with a certificate (X509_V_ERR_...), in words
_FAULTS: Final = {
    2: _FOREIGN,
    9: "is not valid yet; compare the clocks",
    10: "has expired",
    18: _SELF_SIGNED,
    19: "ends in a self-signed authority that is not in tls.ca",
    20: _FOREIGN,
    21: _FOREIGN,
    26: "is not made for this end of TLS (extended key usage)",
}
_OTHER_NAME: Final = (62, 64)  # of a host, of an address


def failure(error: OSError) -> str:
    """Say in one line why a handshake failed."""
    if isinstance(error, TimeoutError):
        return "no answer to the TLS handshake in time"
    if not isinstance(error, ssl.SSLError):
        return _HUNG_UP
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrusted(error)
    reason = getattr(error, "reason", None) or ""  # none in those that Python itself raises
    alert = reason.rpartition("_ALERT_")[2]
    if alert in _DISTRUST:
        return f"the peer does not trust our certificate ({alert.lower().replace('_', ' ')})"
    return _REASONS.get(reason) or f"TLS failed ({reason.lower().replace('_', ' ')})"


def _distrusted(error: ssl.SSLCertVerificationError) -> str:
    whose = "the peer's certificate"
    if error.verify_code in _OTHER_NAME:
        said = error.verify_message.rstrip(".").rpartition("certificate ")[2]
        return f"{whose} {said}; give a name that it holds as certificate_name"
    fault = _FAULTS.get(error.verify_code)
    return f"{whose} {fault or f'is refused: {error.verify_message}'}"
