"""API Gateway's own error responses, as the template defines them."""

import json

from local.gateway.responses import read_gateway_responses

BODY = {
    "x-amazon-apigateway-gateway-responses": {
        "THROTTLED": {
            "statusCode": "429",
            "responseParameters": {
                "gatewayresponse.header.Content-Type": "'application/problem+json'",
                "gatewayresponse.header.X-Origin": "method.request.header.Origin",
            },
            "responseTemplates": {"application/json": '{"requestId":"$context.requestId","x":"$context.other"}'},
        }
    }
}
TEMPLATE = {"Resources": {"Api": {"Properties": {"Body": BODY}}}}


def test_responses_are_read_from_the_template() -> None:
    throttled = read_gateway_responses(TEMPLATE)["THROTTLED"]
    assert (throttled.type, throttled.status) == ("THROTTLED", 429)
    assert throttled.parameters["gatewayresponse.header.X-Origin"] == "method.request.header.Origin"


def test_response_has_its_request_id_and_omits_unknown_variables() -> None:
    status, headers, body = read_gateway_responses(TEMPLATE)["THROTTLED"].render("r-1")
    assert status == 429
    assert headers == [(b"content-type", b"application/problem+json"), (b"x-amzn-requestid", b"r-1")]
    assert json.loads(body) == {"requestId": "r-1", "x": ""}


def test_template_without_responses_has_none() -> None:
    assert read_gateway_responses({"Resources": {"Api": {"Properties": {"Body": {}}}}}) == {}
