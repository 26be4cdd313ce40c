"""Certificates as openssl makes them."""

import subprocess


def openssl(folder, *arguments):
    subprocess.run(["openssl", *[str(part) for part in arguments]], cwd=folder, check=True,
                   capture_output=True, timeout=60)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self._request("req", "-x509", "-days", "2", "-addext", "keyUsage=critical,keyCertSign",
                      name=name)
        self.certificate = folder / f"{name}.crt"

    def _request(self, *arguments, name):
        openssl(self.folder, *arguments, "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-keyout",
                f"{name}.key", "-out", f"{name}.crt" if "-x509" in arguments else f"{name}.csr")

    def issue(self, name):
        """(certificate, key) of `name`, good for 127.0.0.1."""
        self._request("req", name=name)
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n", "utf-8")
        openssl(self.folder, "x509", "-req", "-in", f"{name}.csr", "-CA", self.certificate.name,
                "-CAkey", f"{self.name}.key", "-CAcreateserial", "-days", "2", "-extfile", "names",
                "-out", f"{name}.crt")
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"
