"""An FTP server with one user; transfers go through ports that the host shares."""

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

authorizer = DummyAuthorizer()
authorizer.add_user("testuser", "test-ftp-pass", "/data", perm="elradfmwMT")
FTPHandler.authorizer = authorizer
FTPHandler.masquerade_address = "127.0.0.1"
FTPHandler.passive_ports = range(29080, 29100)
FTPServer(("0.0.0.0", 2121), FTPHandler).serve_forever()
