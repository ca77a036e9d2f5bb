"""Errors of the company's server: of its settings, its folder, its start."""

from __future__ import annotations

from flowyml_policy.errors.root import USE_NEWER, FlowymlPolicyError


class ServerError(FlowymlPolicyError):
    """The company's server cannot be run, or what it keeps cannot be used."""

    code = "server_error"
    default_advice = "see docs/server.md"


class ServerNotStarted(ServerError):
    """The server cannot run: its address or its folder is taken, or a certificate cannot be used."""

    code = "server_not_started"
    default_advice = "correct the server's settings, and start it again"


class ServerUnreachable(ServerError):
    """A server was asked, and did not answer, or not as one of this program."""

    code = "server_unreachable"
    default_advice = "correct the address, and see whether the server runs"


class ServerUnwritable(ServerError):
    """The server's file cannot be created or written to (read-only, full, locked)."""

    code = "server_unwritable"
    default_advice = "give the folder that `data` of the server's settings names room and rights, on a local disk"


class ServerUnreadable(ServerError):
    """The server's file is missing where it is asked for, or is no file of this program."""

    code = "server_unreadable"
    default_advice = "name the folder that `data` of the server's settings names"


class ServerCorrupt(ServerError):
    """The server's file is damaged."""

    code = "server_corrupt"
    default_advice = "keep the file as evidence, and restore the last backup; docs/server.md says how"


class ServerTooNew(ServerError):
    """A newer version of flowyml-policy has written the server's file."""

    code = "server_too_new"
    default_advice = USE_NEWER
