"""Gateway responses, read from the deployed template."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = "gatewayresponse.header."
_VARIABLE = re.compile(r"\$context\.([A-Za-z.]+)")


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """A response that API Gateway creates itself, in the form of its API."""

    type: str
    status: int
    parameters: Mapping[str, str]
    templates: Mapping[str, str]

    def render(self, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body. Headers without a constant value are omitted."""
        headers = [
            (name.removeprefix(_HEADER).lower().encode(), value[1:-1].encode())
            for name, value in self.parameters.items()
            if name.startswith(_HEADER) and len(value) > 1 and value[0] == value[-1] == "'"
        ]
        context = {"requestId": request_id}
        template = self.templates.get("application/json", "")
        body = _VARIABLE.sub(lambda match: context.get(match[1], ""), template).encode()
        return self.status, [*headers, (b"x-amzn-requestid", request_id.encode())], body


def read_gateway_responses(template: Mapping[str, Any]) -> dict[str, GatewayResponse]:
    """Return the gateway responses of a template after SAM's transform, by type."""
    body = template["Resources"]["Api"]["Properties"]["Body"]
    return {
        name: GatewayResponse(
            name,
            int(response["statusCode"]),
            response.get("responseParameters") or {},
            response.get("responseTemplates") or {},
        )
        for name, response in body.get("x-amazon-apigateway-gateway-responses", {}).items()
    }
