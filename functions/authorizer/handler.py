"""Lambda authorizer of the REST API: verifies the bearer token and returns the routes that its owner may call."""

from order_payments.runtime.start_up import finish_start

from log_lines import count_start_failures, write_counts, write_line

from order_payments.runtime.metric_names import Count

with count_start_failures():
    import time
    from typing import Any

    from iam_policy import build_response
    from key_set import NoKeys, keys_from
    from tokens import TokenRefused, TokenVerifier

    from order_payments.runtime.settings import JwtSettings

    # Built while the function starts, so that a misconfigured function serves no request.
    _SETTINGS = JwtSettings.from_environment()
    _VERIFIER = TokenVerifier(
        _SETTINGS.issuer,
        _SETTINGS.audience,
        _SETTINGS.roles_claim,
        keys_from(_SETTINGS, time.time),
        time.time,
        audience_claim=_SETTINGS.audience_claim,
        token_use=_SETTINGS.token_use,
    )

MAX_LOGGED_KID_LENGTH = 64


class AuthorizerFailed(Exception):
    """The token could not be verified. API Gateway responds 500 and does not cache the result."""


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Verify the bearer token and return the policy of its owner.

    If the token is at fault, raises an exception with the message `Unauthorized`, to which API Gateway responds 401. If
    the service or the issuer is at fault, raises `AuthorizerFailed`, to which it responds 500.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-use-lambda-authorizer.html
    """
    request: dict[str, str | None] = {}
    failure: Exception
    try:
        request = _request_ids(event, context)
        caller = _VERIFIER.verify(_bearer_token(event))
        response = build_response(caller, event["methodArn"])
        write_line("INFO", "token accepted", userId=caller.user_id, **request)
    except TokenRefused as refused:
        kid = refused.kid and refused.kid[:MAX_LOGGED_KID_LENGTH]
        write_line("INFO", "token refused", reason=refused.reason, kid=kid, **request)
        failure = Exception("Unauthorized")  # API Gateway responds 401 to this message only
    except NoKeys:
        write_line("ERROR", "authorizer failed", reason="no_keys", **request)
        write_counts(Count.AUTHORIZER_FAILED)
        failure = AuthorizerFailed("no keys")
    except Exception as error:  # noqa: BLE001 - no unexpected error may let a caller in
        # Log neither the error's text nor its cause's, because they may quote the token.
        write_line("ERROR", "authorizer failed", reason="unexpected_error", error=_error_location(error), **request)
        write_counts(Count.AUTHORIZER_FAILED, Count.INTERNAL_ERROR)
        failure = AuthorizerFailed("unexpected error")
    else:
        return response
    # Raised outside the handlers above, so that it carries no context for the runtime to log.
    raise failure


def _bearer_token(event: dict[str, Any]) -> str:
    """Return the token of the only `Authorization` header (RFC 6750, section 2.1). Raises `TokenRefused`."""
    single = [value for name, value in (event.get("headers") or {}).items() if name.lower() == "authorization"]
    multiple = [
        value
        for name, values in (event.get("multiValueHeaders") or {}).items()
        if name.lower() == "authorization"
        for value in values
    ]
    # API Gateway passes each header in both maps. Two values are ambiguous: another reader may choose the other one.
    header_values = multiple or single
    if not header_values:
        raise TokenRefused("no_token")
    if len(header_values) > 1 or single not in ([], header_values):
        raise TokenRefused("ambiguous_token")
    scheme, _, token = header_values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise TokenRefused("wrong_scheme")
    return str(token.lstrip(" "))


def _request_ids(event: dict[str, Any], context: object) -> dict[str, str | None]:
    """Return API Gateway's request id, which the client also receives, and Lambda's."""
    request_id = (event.get("requestContext") or {}).get("requestId")
    function_request_id = getattr(context, "aws_request_id", None)
    return {
        "requestId": request_id and str(request_id),
        "function_request_id": function_request_id and str(function_request_id),
    }


def _error_location(error: Exception) -> str:
    """Return the error's class, and the file and line that raised it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    location = f" in {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else ""
    return f"{type(error).__name__}{location}"


finish_start()
