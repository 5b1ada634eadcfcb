"""Certificates for tests: an authority of the test's own, and what it signs, as PEM files."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates; `ca` is the file of its own."""

    def __init__(self, folder, name="a test's authority"):
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._key.public_key(), name, [], is_ca=True, days=10)
        self.ca = folder / f"{name.replace(' ', '-')}.pem"
        self.ca.write_bytes(self._certificate.public_bytes(_PEM))

    def issue(self, name, *, addresses=("127.0.0.1",), days=10):
        """Give (certificate file, key file) for a common name; `days` below 0: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        certificate = self._sign(key.public_key(), name, [*names, x509.DNSName("localhost")], is_ca=False, days=days)
        stem = self._folder / f"{self.ca.stem}-{name}-{days}"
        pem, private = stem.with_suffix(".crt"), stem.with_suffix(".key")
        pem.write_bytes(certificate.public_bytes(_PEM))
        private.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return pem, private

    def _sign(self, public_key, name, names, *, is_ca, days):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=20))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())
