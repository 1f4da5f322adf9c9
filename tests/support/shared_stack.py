"""One deployed stack for all processes of a test run."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.emulator.deploy import Deployment
from local.emulator.process import Emulator
from local.running import is_running
from local.stack import Stack, running_stack
from local.tokens import TokenIssuer

Parameters = Mapping[str, str] | Callable[[Emulator], Mapping[str, str]]


@contextmanager
def shared_stack(state: Path, parameters: Parameters | None = None) -> Iterator[Stack]:
    """Yield the stack whose state directory is `state`.

    The first process to ask starts the stack, and stops it after all others have left this context. A function may do
    only what the template's policies allow, so a missing permission fails a test.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    attachment = state / "attachment.json"
    with (state / "users").open("a") as users, (state / "start").open("a") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        # Waits while a stack is being stopped, so that no process attaches to it.
        fcntl.flock(users, fcntl.LOCK_SH)
        if is_running(state):
            fcntl.flock(start, fcntl.LOCK_UN)
            yield _attached(json.loads(attachment.read_text()), state)
            return
        with running_stack(state=state, enforce_policies=True, parameters=parameters) as stack:
            _write_for_owner(attachment, {**stack.description(), **_needed_besides(stack)})
            fcntl.flock(start, fcntl.LOCK_UN)
            try:
                yield stack
            finally:
                fcntl.flock(users, fcntl.LOCK_EX)


def stack_of(description: Mapping[str, Any], emulator: Emulator, api_id: str, state: Path) -> Stack:
    """Return a running stack by the content of its `stack.json` and the signing key in its state directory."""
    tables = description["tables"]
    return Stack(
        api_url=description["apiUrl"],
        emulator=emulator,
        # Only the proxy uses the gateway responses, and it runs where the stack was started.
        deployment=Deployment(api_id, tables["orders"], tables["products"], tables.get("dummyStripe"), {}),
        identity=TokenIssuer.load(
            state / "signing-key.pem", description["jwks"], description["issuer"], description["audience"]
        ),
        tokens=description["tokens"],
        state=state,
    )


def port_of(description: Mapping[str, Any]) -> int:
    """Return the emulator's port."""
    return int(description["awsEndpointUrl"].rpartition(":")[2])


def _needed_besides(stack: Stack) -> dict[str, str]:
    return {"apiId": stack.deployment.api_id, "emulatorKey": stack.emulator.key}


def _attached(description: Mapping[str, Any], state: Path) -> Stack:
    log = state / "logs" / "emulator.log"
    emulator = Emulator(
        port_of(description),
        log,
        process=None,  # type: ignore[arg-type]  # The test process that started the stack has it.
        key=description["emulatorKey"],
    )
    return stack_of(description, emulator, description["apiId"], state)


def _write_for_owner(path: Path, content: Mapping[str, Any]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
