"""The vendors' own clients, grpcurl and plain HTTP against a running `rekey dev`.

Each check is a function; its name says what must hold. Run through tests/interop/run.
"""

import base64
import json
import logging
import os
import subprocess
import sys
import time
import traceback

import requests
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions import exceptions as huawei
from huaweicloudsdkroma.v2 import (
    ResetAuthenticationRequest,
    ResetAuthenticationRequestBody,
    ResetProductAuthenticationRequest,
    ResetProductAuthenticationRequestBody,
    RomaClient,
    ShowAuthenticationRequest,
    ShowProductAuthenticationRequest,
)
from licensespring.api import APIClient
from licensespring.api.error import ClientError, InvalidClientCredentials

from dev import Dev

BINARY, GRPCURL = sys.argv[1:3]
env = {}
directory = ""
printed = []


def http(method, path, headers, **kwargs):
    return requests.request(method, env["REKEY_HTTP"] + path, headers=headers, timeout=10, **kwargs)


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


# licensespring: its Python client signs the date itself.


def licensespring(api_key=None, shared_key=None):
    return APIClient(
        api_key=api_key or env["LICENSESPRING_API_KEY"],
        shared_key=shared_key or env["LICENSESPRING_SHARED_KEY"],
        api_protocol="http",
        api_domain=env["REKEY_HTTP"].removeprefix("http://"),
    )


def refused(call):
    try:
        call()
    except ClientError as error:
        return error
    raise AssertionError("it was not refused")


def licensespring_changes_a_password_and_changes_it_back():
    user, password = env["LICENSESPRING_USERNAME"], env["LICENSESPRING_PASSWORD"]
    same(licensespring().change_password(user, password, "another password"), "password_changed")
    error = refused(lambda: licensespring().change_password(user, password, "a third password"))
    same((error.status, error.code), (400, "license_not_found"))
    same(licensespring().change_password(user, "another password", password), "password_changed")


def licensespring_gets_one_answer_for_unknown_users_and_wrong_passwords():
    wrong = refused(lambda: licensespring().change_password(env["LICENSESPRING_USERNAME"], "wrong password", "new password"))
    unknown = refused(lambda: licensespring().change_password("nobody@example.com", "wrong password", "new password"))
    same((wrong.status, wrong.code, wrong.message), (unknown.status, unknown.code, unknown.message))
    same(wrong.message, "license with the provided license user not found")


def licensespring_with_another_shared_key_is_a_signature_mismatch():
    error = refused(lambda: licensespring(shared_key="x" * 40).change_password("a", "b", "c"))
    same((error.status, error.code), (401, "signature_mismatch"))


def licensespring_with_an_unknown_api_key_is_told_so():
    error = refused(lambda: licensespring(api_key="no-such-api-key").change_password("a", "b", "c"))
    same((error.status, error.code, error.message), (400, "invalid_api_key", "provided api key is not valid"))


def licensespring_breaking_the_policy_is_a_validation_error():
    user, password = env["LICENSESPRING_USERNAME"], env["LICENSESPRING_PASSWORD"]
    error = refused(lambda: licensespring().change_password(user, password, "short"))
    same((error.status, error.code), (400, "validation_error"))


def licensespring_with_oauth_changes_a_password_and_changes_it_back():
    client = APIClient(
        client_id=env["LICENSESPRING_API_KEY"],
        client_secret=env["LICENSESPRING_SHARED_KEY"],
        api_protocol="http",
        api_domain=env["REKEY_HTTP"].removeprefix("http://"),
    )
    user, password = env["LICENSESPRING_USERNAME"], env["LICENSESPRING_PASSWORD"]
    same(client.change_password(user, password, "another password"), "password_changed")
    first = client.token
    # A token that is no longer good is fetched anew by the client itself.
    client.token = first + "x"
    same(client.change_password(user, "another password", password), "password_changed")
    assert client.token not in (first, first + "x")


def licensespring_with_a_wrong_client_secret_is_refused():
    client = APIClient(
        client_id=env["LICENSESPRING_API_KEY"],
        client_secret="x" * 40,
        api_protocol="http",
        api_domain=env["REKEY_HTTP"].removeprefix("http://"),
    )
    try:
        client.change_password("a", "b", "c")
    except InvalidClientCredentials:
        return
    raise AssertionError("it was not refused")


# roma: its Python SDK signs by itself, unmodified; a token is added to the request where one is given.


def roma(ak=None, sk=None):
    credentials = BasicCredentials(ak or env["ROMA_AK"], sk or env["ROMA_SK"], env["ROMA_PROJECT_ID"])
    return RomaClient.new_builder().with_credentials(credentials).with_endpoint(env["REKEY_HTTP"]).build()


def roma_reset(device=None, token=None, instance=None, client=None, **body):
    request = ResetAuthenticationRequest(
        instance_id=instance or env["ROMA_INSTANCE_ID"],
        device_id=int(device or env["ROMA_DEVICE_ID"]),
        body=ResetAuthenticationRequestBody(**body),
    )
    invoker = (client or roma()).reset_authentication_invoker(request)
    return (invoker.add_header("X-Auth-Token", token) if token else invoker).invoke()


def roma_show(token=None):
    request = ShowAuthenticationRequest(instance_id=env["ROMA_INSTANCE_ID"], device_id=int(env["ROMA_DEVICE_ID"]))
    invoker = roma().show_authentication_invoker(request)
    return (invoker.add_header("X-Auth-Token", token) if token else invoker).invoke()


def roma_with_a_token_needs_no_signature_that_is_right():
    answer = roma_reset(token=env["ROMA_TOKEN"], client=roma("nobody", "nothing"), user_name=env["ROMA_USER_NAME"])
    same(answer.status_code, 200)
    same(roma_show(token=env["ROMA_TOKEN"]).password, roma_show().password)


def roma_with_another_key_is_refused():
    for client in (roma(sk="x" * 40), roma(ak="unknown-key")):
        try:
            roma_reset(client=client)
        except huawei.ClientRequestException as error:
            same((error.status_code, error.error_code), (401, "APIG.0301"))
        else:
            raise AssertionError("it was not refused")


def roma_resets_and_shows_a_product():
    names = {"instance_id": env["ROMA_INSTANCE_ID"], "product_id": int(env["ROMA_PRODUCT_ID"])}
    body = ResetProductAuthenticationRequestBody(password="Abcdefgh1234567!")
    answer = roma().reset_product_authentication(ResetProductAuthenticationRequest(**names, body=body))
    same((answer.status_code, answer.password), (200, "Abcdefgh1234567!"))
    same(roma().show_product_authentication(ShowProductAuthenticationRequest(**names)).password, "Abcdefgh1234567!")


def roma_shows_what_the_demo_was_made_with():
    shown = roma_show()
    same((shown.user_name, shown.password), (env["ROMA_USER_NAME"], env["ROMA_PASSWORD"]))


def roma_resets_to_a_given_password_and_shows_it():
    answer = roma_reset(user_name="device01", password="Abcdefgh1234567!")
    same((answer.status_code, answer.user_name, answer.password), (200, "device01", "Abcdefgh1234567!"))
    same(roma_show().password, "Abcdefgh1234567!")


def roma_makes_a_password_where_none_is_given():
    first, second = roma_reset().password, roma_reset().password
    assert first != second and 16 <= len(second) <= 32, second
    same(roma_show().password, second)


def roma_keeps_the_password_where_only_the_name_is_given():
    before = roma_show().password
    answer = roma_reset(user_name="device-02")
    same((answer.user_name, answer.password), ("device-02", before))
    roma_reset(user_name=env["ROMA_USER_NAME"])


def roma_errors_arrive_as_the_sdks_own():
    cases = [
        (lambda: roma_reset(device=4712), huawei.ClientRequestException, 404, "ROMA.00110006"),
        (lambda: roma_reset(instance="elsewhere"), huawei.ServerResponseException, 500, "ROMA.00110002"),
        (lambda: roma_reset(token="x" * 64), huawei.ClientRequestException, 401, "APIG.0301"),
        (lambda: roma_reset(password="short"), huawei.ClientRequestException, 400, "ROMA.00110001"),
    ]
    for call, kind, status, code in cases:
        try:
            call()
        except kind as error:
            same((error.status_code, error.error_code), (status, code))
            assert error.request_id and error.error_msg, "request id and message"
        else:
            raise AssertionError(f"{code} was not raised")


# applivery and ocariot have no client of their own: plain HTTP.


def applivery(method, body=None, token=None, slash="/", organization=None):
    path = f"/v1/organizations/{organization or env['APPLIVERY_ORGANIZATION_ID']}/integrations/harmony-mobile{slash}"
    return http(method, path, {"Authorization": f"Bearer {token or env['APPLIVERY_TOKEN']}"}, json=body)


def applivery_resets_an_integration():
    settings = {"token": "t", "portalAccountId": "p", "gwAddress": "g.example.com"}
    updated = applivery("PUT", settings)
    same(updated.status_code, 200)
    before = updated.json()["data"]
    same({name: before[name] for name in settings}, settings)

    reset = applivery("DELETE")
    same((reset.status_code, reset.json()["status"]), (200, True))
    data = reset.json()["data"]
    same(sorted(data), ["password", "username"])
    same(data["username"], before["username"])
    assert data["password"] != before["password"]
    same(applivery("GET").json()["data"], data)
    same(applivery("DELETE", slash="", organization="acme").status_code, 200)


def applivery_refuses_in_its_own_words():
    stranger = applivery("DELETE", token="x" * 64)
    same((stranger.status_code, stranger.text), (401, '{"status":false,"error":{"code":4004,"message":"Invalid Token"}}'))
    unknown = applivery("DELETE", organization="0" * 24)
    same((unknown.status_code, unknown.text), (404, '{"status":false,"error":{"code":3001,"message":"Entity not found"}}'))


def ocariot(method, path, body, token):
    return http(method, path, {"Authorization": f"Bearer {token}"}, json=body)


def jwt(**claims):
    """A token of the demo's issuer, signed by openssl."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    claims = {"iss": "ocariot-demo", "iat": now, "exp": now + 60, **claims}
    head = encoded(b'{"alg":"RS256","typ":"JWT"}') + b"." + encoded(json.dumps(claims).encode())
    key = os.path.join(directory, "ocariot-issuer.pem")
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=head, capture_output=True, check=True)
    return (head + b"." + encoded(signature.stdout)).decode()


def ocariot_resets_a_password_and_its_owner_changes_it():
    user = env["OCARIOT_USER_ID"]
    reset = ocariot("POST", f"/v1/users/{user}/reset-password", {"new_password": "n"}, env["OCARIOT_ADMIN_TOKEN"])
    same((reset.status_code, reset.content), (204, b""))
    owner = jwt(sub=user, sub_type="educator", scope="educators:update")
    change = {"old_password": "n", "new_password": env["OCARIOT_PASSWORD"]}
    changed = ocariot("PUT", f"/v1/users/{user}/password", change, owner)
    same((changed.status_code, changed.content), (204, b""))
    again = ocariot("PUT", f"/v1/users/{user}/password", change, owner)
    same((again.status_code, again.json()["message"]), (400, "Password does not match!"))


def ocariot_signs_in_and_changes_its_password_with_the_token():
    user, name, password = env["OCARIOT_USER_ID"], env["OCARIOT_USERNAME"], env["OCARIOT_PASSWORD"]
    signed_in = http("POST", "/v1/auth", {}, json={"username": name, "password": password})
    same((signed_in.status_code, list(signed_in.json())), (200, ["access_token"]))
    token = signed_in.json()["access_token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    same(list(claims), ["sub", "sub_type", "iss", "iat", "exp", "scope"])
    same((claims["sub"], claims["sub_type"], claims["iss"]), (user, "educator", "ocariot"))
    same((claims["exp"] - claims["iat"], claims["scope"]), (86400, "educators:update"))
    change = {"old_password": password, "new_password": password}
    same(ocariot("PUT", f"/v1/users/{user}/password", change, token).status_code, 204)
    # The token was for the password that was.
    same(ocariot("PUT", f"/v1/users/{user}/password", change, token).status_code, 401)
    wrong = http("POST", "/v1/auth", {}, json={"username": name, "password": "wrong"})
    same((wrong.status_code, wrong.text), (401, '{"code":401,"message":"Invalid username or password!"}'))


def ocariot_refuses_in_its_own_words():
    user = env["OCARIOT_USER_ID"]
    change = {"old_password": "a", "new_password": "b"}
    foreign = ocariot("PUT", f"/v1/users/{user}/password", change, env["OCARIOT_ADMIN_TOKEN"])
    same((foreign.status_code, foreign.json()["message"]), (403, "FORBIDDEN"))
    expired = jwt(sub=user, sub_type="admin", scope="users:resetPassword", exp=1)
    late = ocariot("POST", f"/v1/users/{user}/reset-password", {"new_password": "b"}, expired)
    same((late.status_code, late.json()["description"]), (401, "Authentication failed because access token is expired."))


# grpcurl.


def grpcurl(*arguments, token=None):
    headers = ["-H", f"authorization: Bearer {token}"] if token else []
    return subprocess.run([GRPCURL, "-plaintext", *headers, *arguments], capture_output=True, text=True, check=False)


def grpcurl_lists_the_services_by_reflection():
    services = grpcurl(env["REKEY_GRPC"], "list").stdout.split()
    nouns = ["Audit", "Caller", "Device", "Integration", "Job", "Key", "Policy", "Tenant", "Token", "User"]
    same([name for name in services if name.startswith("rekey.")], [f"rekey.v1.{noun}Service" for noun in nouns])
    assert "grpc.health.v1.Health" in services, services


def grpcurl_finds_the_service_healthy():
    answer = grpcurl(env["REKEY_GRPC"], "grpc.health.v1.Health/Check")
    same(json.loads(answer.stdout), {"status": "SERVING"})


def grpcurl_resets_a_password_that_then_verifies():
    user = {"tenant_id": "ocariot", "user_id": env["OCARIOT_USER_ID"]}

    def call(method, message):
        answer = grpcurl("-d", json.dumps(message), env["REKEY_GRPC"], f"rekey.v1.UserService/{method}", token=env["REKEY_ADMIN_TOKEN"])
        same((answer.returncode, answer.stderr), (0, ""))
        return json.loads(answer.stdout)

    generated = call("ResetPassword", {**user, "generate": {}})["generatedPassword"]
    same(call("VerifyPassword", {**user, "password": generated}).get("verified"), True)
    same(call("VerifyPassword", {**user, "password": generated + "x"}).get("verified", False), False)


def grpcurl_without_a_token_is_unauthenticated():
    answer = grpcurl("-d", '{"tenant_id":"ocariot"}', env["REKEY_GRPC"], "rekey.v1.UserService/ResetPassword")
    assert "Unauthenticated" in answer.stderr, answer.stderr


# What is printed is to be pasted: into a shell, one by one.


def paste_each_printed_request_and_it_works():
    blocks = "".join(printed).split("\n\n# ")[1:]
    same([block.split(":")[0] for block in blocks], ["applivery", "ocariot", "ocariot", "licensespring", "licensespring", "roma", "roma", "gRPC"])
    path = os.path.dirname(GRPCURL) + os.pathsep + os.environ["PATH"]
    for block in blocks:
        title, _, command = block.partition("\n")
        command = command.split("\n\n")[0]
        answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={"PATH": path}, check=False)
        good = answer.stdout.startswith(("HTTP/1.1 200", "HTTP/1.1 204")) or '"generatedPassword"' in answer.stdout
        assert answer.returncode == 0 and good, f"{title}: {answer.stdout} {answer.stderr}"


def main():
    logging.disable(logging.CRITICAL)
    checks = [
        function
        for name, function in globals().items()
        if name.split("_")[0] in ("licensespring", "roma", "applivery", "ocariot", "grpcurl", "paste")
        and "_" in name
        and name not in ("roma_reset", "roma_show")
    ]
    global directory
    failed = 0
    with Dev(BINARY) as dev:
        directory = dev.directory
        env.update(dev.env)
        printed.extend(dev.printed)
        for check in checks:
            try:
                check()
                print(f"ok      {check.__name__.replace('_', ' ')}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {check.__name__.replace('_', ' ')}\n{traceback.format_exc()}", flush=True)
    if dev.code != 0:
        failed += 1
        print(f"FAILED  rekey dev ends well: exit code {dev.code}")
    print(f"{len(checks) + 1 - failed} passed, {failed} failed")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
