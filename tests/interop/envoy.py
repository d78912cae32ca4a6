"""Our gateway beside an independent transcoder: Envoy's, with our descriptors, before the same service. What is good is
answered alike, in JSON; what is bad, alike or more strictly.

    envoy.py BINARY ENVOY BUF
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import requests

from dev import Dev

BINARY, ENVOY, BUF = map(os.path.abspath, sys.argv[1:4])
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SERVICES = ["Audit", "Caller", "Device", "Integration", "Job", "Key", "Policy", "Tenant", "Token", "User"]

# Where we refuse what Envoy lets pass, and why; each shows at least once, or it is struck from here.
STRICTER = {
    "a member twice": "two parsers could read it differently",
    "an unknown member": "a misspelt member would be ignored",
    "no content type": "a browser's form could be the sender",
    "an empty segment": "a thing would have two names",
}
# What no two calls have in common.
OWN = ("etag", "createTime", "updateTime", "stageTime", "passwordChangeTime", "generatedPassword", "password", "token", "tokenId", "credentialId", "apiKey", "sharedKey", "lastUseTime", "expireTime")


@contextlib.contextmanager
def envoy(grpc):
    """Envoy with our descriptors, on a port of its own."""
    with tempfile.TemporaryDirectory() as directory:
        descriptors = os.path.join(directory, "api.binpb")
        subprocess.run([BUF, "build", "--exclude-source-info", "-o", descriptors], cwd=os.path.join(ROOT, "proto"), check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        host, _, upstream = grpc.rpartition(":")
        address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": int(port)}}
        extension = "type.googleapis.com/envoy.extensions"
        transcoder = {
            "@type": f"{extension}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": descriptors,
            "services": [f"rekey.v1.{noun}Service" for noun in SERVICES],
            "print_options": {"always_print_primitive_fields": True},
            "convert_grpc_status": True,
            "request_validation_options": {"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        }
        manager = {
            "@type": f"{extension}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "rekey",
            "normalize_path": False,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "rekey"}}]}]},
            "http_filters": [
                {"name": "transcoder", "typed_config": transcoder},
                {"name": "router", "typed_config": {"@type": f"{extension}.filters.http.router.v3.Router"}},
            ],
        }
        protocol = {
            "@type": f"{extension}.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]
        config = {"static_resources": {
            "listeners": [{"address": address(port), "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
            "clusters": [{
                "name": "rekey",
                "type": "STATIC",
                "load_assignment": {"cluster_name": "rekey", "endpoints": endpoints},
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
            }],
        }}
        file = os.path.join(directory, "envoy.json")
        with open(file, "w", encoding="utf-8") as out:
            json.dump(config, out)
        command = [ENVOY, "-c", file, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
        process = subprocess.Popen(command)
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(100):
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(base, timeout=5)
                    break
                time.sleep(0.1)
            else:
                raise SystemExit("envoy did not start")
            yield base
        finally:
            process.terminate()
            process.wait(timeout=20)


def good(env):
    """What works, in an order in which it does. `{side}` keeps the two from each other's way."""
    user = f"/v1/tenants/ocariot/users/{env['OCARIOT_USER_ID']}"
    new = "/v1/tenants/ocariot/users/user-{side}"
    device = "/v1/tenants/roma/devices/" + env["ROMA_DEVICE_ID"]
    mine = "/v1/tenants/roma/devices/device-{side}"
    integration = "/v1/tenants/applivery/integrations"
    caller = "/v1/tenants/ocariot/callers"
    password = "a phrase of fifteen letters"
    return [
        ("GET", "/v1/whoami", None),
        ("POST", "/v1/whoami:checkAccess", {"method": "rekey.v1.UserService/GetUser"}),
        ("GET", "/v1/tenants", None),
        ("GET", "/v1/tenants?pageSize=1", None),
        ("GET", "/v1/tenants?page_size=2", None),
        ("GET", "/v1/tenants/ocariot", None),
        ("GET", "/v1/tenants/applivery:acme", None),
        ("POST", "/v1/tenants", {"tenant": {"tenantId": "tenant-{side}", "displayName": "Ä ö \u4e16"}}),
        ("GET", user, None),
        ("POST", "/v1/tenants/ocariot/users", {"userId": "user-{side}", "username": "user-{side}", "password": password}),
        ("POST", "/v1/tenants/ocariot/users", {"user_id": "", "username": "named-{side}", "generate": {"length": 20}}),
        ("GET", new, None),
        ("POST", new + ":verifyPassword", {"password": password}),
        ("POST", new + ":verifyPassword", {"password": "another"}),
        ("POST", "/v1/tenants/ocariot/users:verifyPassword", {"username": "user-{side}", "password": password}),
        ("POST", "/v1/tenants/ocariot/users:batchVerifyPasswords", {"checks": [{"userId": "user-{side}", "password": password}, {"username": "x", "password": "y"}]}),
        ("POST", new + ":changePassword", {"currentPassword": password, "newPassword": password + " changed"}),
        ("POST", "/v1/tenants/ocariot/users:changePassword", {"username": "user-{side}", "current_password": password + " changed", "new_password": password}),
        ("POST", new + ":resetPassword", {"generate": {}}),
        ("POST", new + ":resetPassword", {"newPassword": password, "etag": None}),
        ("GET", "/v1/tenants/ocariot/users:passwordCensus", None),
        ("GET", device, None),
        ("POST", "/v1/tenants/roma/devices", {"deviceId": "device-{side}", "userName": "device-{side}"}),
        ("POST", mine + ":revealAuthentication", {"purpose": "to see"}),
        ("POST", mine + ":resetAuthentication", {"userName": "renamed-{side}", "password": "Abcdefgh1234567!"}),
        ("POST", mine + ":verifyAuthentication", {"password": "Abcdefgh1234567!"}),
        ("POST", "/v1/tenants/roma/devices:verifyAuthentication", {"userName": "renamed-{side}", "password": "x"}),
        ("POST", integration, {"integrationId": "integration-{side}", "username": "third-{side}", "settings": {"one": "1", "two": "2"}}),
        ("GET", integration + "/integration-{side}", None),
        ("PATCH", integration + "/integration-{side}", {"settings": {"three": "3"}, "returnCredentials": True}),
        ("POST", integration + "/integration-{side}:reveal", {}),
        ("POST", integration + "/integration-{side}:reset", {}),
        ("POST", caller, {"callerId": "caller-{side}", "permissions": ["users:get", "users:verify"]}),
        ("POST", caller + "/caller-{side}/apiTokens", {}),
        ("POST", caller + "/caller-{side}/signingKeys", {"apiKey": "signing-key-{side}"}),
        ("POST", caller + "/caller-{side}/signingKeys/signing-key-{side}:revoke", {}),
        # The rest of a life. What is not made yet is 501 to both.
        ("GET", "/v1/tenants/ocariot/users?pageSize=1&orderBy=username", None),
        ("GET", "/v1/tenants/ocariot/users?filter=username%20%3D%20%22user-{side}%22&countTotal=true", None),
        ("PATCH", new, {"user": {"labels": {"team": "blue"}}, "updateMask": "labels"}),
        ("POST", new + ":lock", {}),
        ("POST", new + ":unlock", {}),
        ("POST", new + ":disable", {}),
        ("POST", new + ":enable", {}),
        ("DELETE", new + "?requestId=gone-{side}", None),
        ("DELETE", new + "?allowMissing=true", None),
        ("GET", "/v1/tenants/ocariot/policies/POLICY_KIND_USER:explain", None),
        ("POST", "/v1/tenants/ocariot/policies:checkPassword", {"kind": "POLICY_KIND_USER", "password": "letmein"}),
        ("GET", caller + "/caller-{side}/credentials", None),
        ("GET", "/v1/tokens/keySet", None),
    ]


def bad(document):
    """For every route, what is wrong with a request in one way, about nobody that is there."""
    for template, operations in document["paths"].items():
        path = template.replace("{kind}", "POLICY_KIND_DEVICE")
        for name in ("tenant_id", "user_id", "device_id", "integration_id", "caller_id", "token_id", "api_key"):
            path = path.replace("{" + name + "}", "nobody")
        for method, operation in operations.items():
            method = method.upper()
            json_body = "requestBody" in operation
            yield "nothing wrong but that nobody is there", method, path, "{}" if json_body else None, {}
            yield "nobody calls", method, path, "{}" if json_body else None, {"Authorization": None}
            yield "an empty segment", method, path.replace("nobody", "", 1) if "nobody" in path else path + "/", "{}" if json_body else None, {}
            yield "another path", method, path + "x", "{}" if json_body else None, {}
            if not json_body:
                yield "an unknown query parameter", method, path + "?nonsense=1", None, {}
                yield "a value of another type", method, path + "?pageSize=many", None, {}
                continue
            yield "no JSON", method, path, "{", {}
            yield "no object", method, path, "[]", {}
            yield "a number for a text", method, path, '{"requestId":{}}', {}
            yield "an unknown member", method, path, '{"nonsense":1}', {}
            yield "a member twice", method, path, '{"requestId":"a","requestId":"b"}', {}
            yield "no content type", method, path, "{}", {"Content-Type": "text/plain"}
            yield "an unknown query parameter with a body", method, path + "?nonsense=1", "{}", {}
    # And with a request that is good but for that, so that it shows who lets it pass.
    path, member = "/v1/whoami:checkAccess", '"method":"rekey.v1.CallerService/WhoAmI"'
    yield "an unknown member", "POST", path, "{" + member + ',"nonsense":1}', {}
    yield "a member twice", "POST", path, "{" + member + "," + member + "}", {}
    yield "no content type", "POST", path, "{" + member + "}", {"Content-Type": "text/plain"}


def send(base, token, method, path, body, headers):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
    headers = {name: value for name, value in headers.items() if value is not None}
    # As it is: no client's own idea of what the path should be.
    request = requests.Request(method, base, headers=headers, data=body).prepare()
    request.url = base + path
    with requests.Session() as session:
        session.trust_env = False
        return session.send(request, timeout=20)


def comparable(value, side, own=OWN):
    """Without what no two calls have in common."""
    if isinstance(value, dict):
        return {name: "…" if name in own and inner else comparable(inner, side, own) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [comparable(inner, side, own) for inner in value]
    return value.replace(f"-{side}", "-SIDE") if isinstance(value, str) else value


def both(bases, token, method, path, body, headers):
    answers = {}
    for side, base in bases.items():
        filled = path.replace("{side}", side)
        answers[side] = send(base, token, method, filled, body.replace("{side}", side).encode() if body else None, headers)
    return answers["ours"], answers["envoy"]


def good_is_answered_alike(bases, env):
    problems = []
    for method, path, message in good(env):
        body = None if message is None else json.dumps(message, ensure_ascii=False)
        ours, theirs = both(bases, env["REKEY_ADMIN_TOKEN"], method, path, body, {})
        told = f"{method} {path}"
        if (ours.status_code, theirs.status_code) != (200, 200):
            problems.append(f"{told}: ours {ours.status_code} {ours.text[:200]}, Envoy {theirs.status_code} {theirs.text[:200]}")
            continue
        # An id that the service makes is one of its own; so is what the other side did meanwhile.
        own = (*OWN, "userId") if message and message.get("user_id") == "" else OWN
        one, other = comparable(ours.json(), "ours", own), comparable(theirs.json(), "envoy", own)
        if path.split("?")[0].endswith(("/tenants", "/users", ":passwordCensus")) and method == "GET":
            one, other = sorted(one), sorted(other)
        if one != other:
            problems.append(f"{told}:\n  ours  {json.dumps(one)}\n  Envoy {json.dumps(other)}")
    return len(good(env)), problems


def bad_is_answered_alike_or_more_strictly(bases, env, document):
    problems, seen, count = [], set(), 0
    for what, method, path, body, headers in bad(document):
        ours, theirs = both(bases, env["REKEY_ADMIN_TOKEN"], method, path, body, headers)
        count += 1
        if ours.status_code // 100 == theirs.status_code // 100:
            continue
        told = f"{what}: {method} {path} {body}: ours {ours.status_code} {ours.text[:160]}, Envoy {theirs.status_code} {theirs.text[:160]}"
        if what in STRICTER and theirs.status_code == 200 and ours.status_code // 100 == 4:
            seen.add(what)
        else:
            problems.append(told)
    problems += [f"{what}: no longer a difference, strike it" for what in STRICTER.keys() - seen]
    return count, problems


def main():
    with Dev(BINARY) as dev, envoy(dev.env["REKEY_GRPC"]) as other:
        bases = {"ours": dev.env["REKEY_HTTP"], "envoy": other}
        document = requests.get(bases["ours"] + "/openapi.json", timeout=10).json()
        wanted, wrong = good_is_answered_alike(bases, dev.env)
        refused, lax = bad_is_answered_alike_or_more_strictly(bases, dev.env, document)
    for problem in wrong + lax:
        print(f"FAILED  {problem}")
    print(f"{'FAILED ' if wrong or lax else 'ok     '} {wanted} good and {refused} bad requests by our gateway and by Envoy")
    for what, why in STRICTER.items():
        print(f"        we refuse and Envoy does not: {what} ({why})")
    sys.exit(bool(wrong or lax))


main()
