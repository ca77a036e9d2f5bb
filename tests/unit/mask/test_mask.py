"""The mask. Every secret is made here, at run time, so that none of them stands in the repository."""

from __future__ import annotations

import base64
import json
import random
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyml_policy.mask.detectors import PATTERNS, TOKENS, URL_PATTERNS
from flowyml_policy.mask.harmless import DETECTORS
from flowyml_policy.mask.logins import LOGINS
from flowyml_policy.mask.randomness import entropy, looks_random
from flowyml_policy.mask.text import holds_secret, is_clean, mask, mask_report
from flowyml_policy.mask.value import mask_value, mask_value_report
from flowyml_policy.records.policy_input import SuspectedSecret

BASE62 = string.ascii_letters + string.digits
BASE64 = BASE62 + "+/"
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"


def chars(alphabet: str, count: int, seed: int = 7) -> str:
    """Always the same random characters, with each class of the alphabet among them."""
    source = random.Random(f"{alphabet}{count}{seed}")
    return "".join(source.choice(alphabet) for _ in range(count))


def jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "ada", "iat": 1})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, chars(BASE62, 43)])


def key_block(kind: str = "RSA PRIVATE") -> str:
    body = "\n".join(chars(BASE64, 64, seed) for seed in range(4))
    return f"-----BEGIN {kind} KEY-----\n{body}\n-----END {kind} KEY-----"


SECRETS = {
    "aws_access_key": "AKIA" + chars(UPPER, 16),
    "gcp_api_key": "AIza" + chars(BASE62, 35),
    "gcp_token": "ya29." + chars(BASE62, 60),
    "azure_client_secret": "a1~" + "8Q~" + chars(BASE62, 33),
    "github_token": "ghp_" + chars(BASE62, 36),
    "gitlab_token": "glpat-" + chars(BASE62, 20),
    "slack_token": "xoxb-" + chars(string.digits, 12) + "-" + chars(BASE62, 24),
    "policy_server_token": "fps_" + chars(BASE62, 43),
    "huggingface_token": "hf_" + chars(BASE62, 34),
    "openai_key": "sk-proj-" + chars(BASE62, 48),
    "databricks_token": "dapi" + chars(HEX, 32),
    "npm_token": "npm_" + chars(BASE62, 36),
    "pypi_token": "pypi-" + chars(BASE62, 80),
    "stripe_key": "sk_live_" + chars(BASE62, 24),
    "sendgrid_key": "SG." + chars(BASE62, 22) + "." + chars(BASE62, 43),
    "vault_token": "hvs." + chars(BASE62, 90),
    "docker_token": "dckr_pat_" + chars(BASE62, 27),
    "digitalocean_token": "dop_v1_" + chars(HEX, 64),
    "langsmith_key": "lsv2_pt_" + chars(HEX, 32) + "_" + chars(HEX, 10),
    "age_key": "AGE-SECRET-KEY-1" + chars(UPPER, 58),
    "aws_secret_key": "wJalrXUtnFEMI/K7MDENG/" + chars(BASE62, 18),
    "high_entropy": chars(BASE62, 32),
    "jwt": jwt(),
    "private_key": key_block(),
}
"""One whole secret for each detector that knows one by itself."""

IN_CONTEXT = {
    "url_password": [
        ("postgres://ml:{}@db.internal:5432/x?sslmode=on", "hunter2"),
        ("redis://:{}@cache:6379/0", "s3cr3t"),
        ("postgresql+psycopg2://ml:{}@db/x", "p@ss:w0rd"),
        ("mysql://ml:{}@db/x", "with/slash?and#hash"),
        ("https://{}@github.com/org/repo", chars(BASE62, 30)),
        ("user:{}@gcr.io/x/y", "hunter2hunter2"),
        ("user:{}@gcr.io/x/y@sha256:" + chars(HEX, 64), "hunter2"),
        ("the image 'user:{}@localhost:5000/x:1' is none", "p@ss"),
        ("docker.io/x:1 or ada:{}@registry/team/x", "with/slash"),
        ("login=ada:{}@10.0.0.1", "hunter2"),
        ("//ada:{}@db.internal", "hunter2"),
        ("ada:{}@db.internal, and more", "s3:cr3t"),
        ("ada:{}@db.internal:1521:xe", "hunter2"),
        ("svc:{}@tcp(db.acme.example:3306)/ml", "Blu3Sky99x"),
        ("svc:{}@tcp(db:3306)/ml?parseTime=true", "with/slash@and(brace"),
        ("svc:{}@tcp6([::1]:3306)/ml", "1234/x"),
        ("svc:{}@unix(/run/mysqld/mysqld.sock)/ml", "hunter2"),
        ("svc:{}@cloudsql(project:region:one)/ml", "hunter2"),
        ("svc:{}@/ml", "Blu3Sky99x"),
        ("svc:{}@/", "hunter2"),
        ("svc:{}@/ml?host=/run/postgresql", "hunter2"),
        ("svc:{}@%2Frun%2Fpostgresql/ml", "hunter2"),
        ("svc:{}@[::1]:5432/ml", "hunter2"),
        ("svc:{}@db", "Blu3Sky99x"),
        ("svc:{}@db", "p!ss-W0rd"),
        ("svc/{}@//db:1521/x", "Blu3Sky99x"),
        ("svc/{}@//db/x", "with/slash@"),
        ("svc/{}@db:1521/x", "hunter2"),
        ("svc/{}@db:1521:xe", "hunter2"),
        ("svc/{}@db.acme.example:1521", "hunter2"),
        ("svc/{}@(DESCRIPTION=(ADDRESS=(HOST=db)))", "hunter2"),
        ("oracle://svc/{}@db", "hunter2"),
        ("oracle+oracledb://svc/{}@db", "hunter2"),
        ("jdbc:oracle:thin:svc/{}@db", "hunter2"),
        ("jdbc:oracle:thin:svc/{}@//db:1521/x", "hunter2"),
        ("sqlplus -S svc/{}@orcl", "hunter2"),
    ],
    "azure_storage_key": [
        ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=y", chars(BASE64, 86) + "=="),
        ("Endpoint=sb://x.servicebus.windows.net/;SharedAccessKey={}", chars(BASE64, 43) + "="),
    ],
    "azure_sas": [("https://x.blob.core.windows.net/c?sv=2024-01-01&sig={}&se=2030", chars(BASE62, 43) + "%3D")],
    "url_signature": [("https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature={}", chars(HEX, 64))],
    "slack_webhook": [("https://hooks.slack.com/services/{}", f"T0000/B0000/{chars(BASE62, 24)}")],
    "authorization": [
        ("curl -H 'Authorization: Bearer {}' https://x", "abc123def456"),
        ("authorization: basic {}", base64.b64encode(b"ada:pw").decode()),
        ("Basic {}", base64.b64encode(b"ada:pw").decode()),
        ("headers: Basic {}, and more", base64.b64encode(b"svc:Blu3Sky99x").decode()),
        ("header=Basic%20{}", base64.b64encode(b"ada:pw").decode().replace("=", "%3D")),
        ("basic:{}", base64.urlsafe_b64encode("ada:ü?>".encode()).decode()),
        ('{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}', base64.b64encode(b"ada:pw").decode()),
    ],
    "assigned_secret": [
        ("DB_PASSWORD={}", "hunter2"),
        ("Server=db;User=ml;Password={};Encrypt=yes", "hunter2"),
        ("run --api-key {} --verbose", "k1"),
        ("run --token={} --verbose", "k1"),
        ('{{"user": "ml", "password": "{}"}}', "hunter2"),
        ("{{'secret_key': '{}'}}", "hunter2"),
        ('{{"password": {}, "x": 1}}', "123456"),
        ('"password": {}', "hunter2"),
        ('\\"api_key\\": \\"{}\\"', "hunter2"),
        ("user: ml\npassword: {}\nport: 1", "hunter2"),
        ("https://x/y?token={}&z=1", "hunter2"),
        ('export TOKEN="{}"', "two words"),
        ("x=password={}", "hunter2"),
        ("password={}", "a" * 5000),
        ("Server=db;Uid=svc;Pwd={};Encrypt=true", "Blue&Gr33n"),
        ("Server=db;Uid=svc;Pwd={}", "Blue&Gr33n two"),
        ("Pwd={};Server=db", "Blue & Gr33n"),
        ("Server=db; Password={} ;Encrypt=true", 'it\'s "so"x'),
        ("'Server=db;Pwd={}' is refused", "Blue&Gr33n"),
        ('{{"store": "Server=db;Pwd={}", "x": 1}}', "Blue&Gr33n"),
        ('{{\\"store\\": \\"Server=db;Pwd={}\\"}}', "Blue&Gr33n"),
        ("Driver={{x}};Pwd={{{}}};Uid=svc", "a;b}}c"),
        ("Driver={{x}};Uid=svc;Pwd={{{}}}", "hunter2"),
        ('Server=db;Pwd="{}";Encrypt=true', 'a;b""c'),
        ("Server=db;Pwd='{}';Encrypt=true", "a;b''c"),
        ("jdbc:sqlserver://db:1433;user=sa;password={};encrypt=true", "a&b=c"),
        ("host=db user=svc password={} dbname=ml", "Blue&Gr33n"),
        ("host=db user=svc password={} dbname=ml", "it's"),
        ("host=db user=svc password={} dbname=ml", "two\\ words"),
        ("host=db user=svc password='{}' dbname=ml", "it\\'s"),
        ('{{"password": "{}", "x": 1}}', 'a\\"b'),
        ("password: '{}'", "it''s"),
        ("KAGGLE_KEY={}", chars(HEX, 32)),
    ],
    "named_secret": [
        ('{{"username":"u","key":"{}"}}', chars(HEX, 32)),
        ('{{"key": "{}", "username": "u"}}', chars(HEX, 32)),
        ("{{'user': 'u', 'key': '{}'}}", chars(HEX, 32)),
        ('{{\\"username\\": \\"u\\", \\"key\\": \\"{}\\"}}', chars(HEX, 32)),
    ],
}
"""Secrets that are known by what stands around them; `{}` is where they stand."""

PUBLIC = [
    "",
    "prod-gpu-large",
    "Standard_NC24ads_A100_v4",
    "TrainingPipelineForCustomerChurnV2Production2024",
    "myregistry.azurecr.io/team/flowyml:2.1.0-cuda12.1-py311",
    "myregistry.azurecr.io/flowyml@sha256:" + chars(HEX, 64),
    "sha256:" + chars(HEX, 64),
    "sha512-" + chars(BASE64, 86) + "==",
    chars(HEX, 40),
    chars(HEX, 40).upper(),
    "550e8400-e29b-41d4-a716-446655440000",
    "Run-550e8400-e29b-41d4-a716-446655440000-Retry",
    "/subscriptions/550e8400-e29b-41d4-a716-446655440000/resourceGroups/RG1/providers/Microsoft.ML/workspaces/W1",
    "arn:aws:iam::123456789012:role/FlowymlPipelineRunnerProductionRole",
    "abfs://artifacts@mystorage.dfs.core.windows.net",
    "sqlite:///shared/metadata.db",
    "https://my-vault.vault.azure.net",
    "https://host:8080/path@v1",
    "https://docs.google.com/spreadsheets/d/" + chars(BASE62, 44) + "/edit",
    "git@github.com:my-org/ml-stacks.git",
    "ada@example.com",
    "mailto:ada@example.com",
    "Owner: ada@example.com",
    "owner:ada@example.com",
    "serviceAccount:train@my-project.iam.gserviceaccount.com",
    "arn:aws:sts::123456789012:assumed-role/Trainer/ada@example.com",
    "localhost:5000/team/x:1.2@sha256:" + chars(HEX, 64),
    "x:1.2@sha256:" + chars(HEX, 64),
    "team/x:latest@sha512:" + chars(HEX, 128),
    "ubuntu:22.04@sha256",
    "npm:lodash@4.17.21",
    "npm:@scope/x@1.2.3-beta.1",
    "user:${REGISTRY_PASSWORD}@gcr.io/x/y",
    "github://my-org/ml-stacks@v2.1.0#prod",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + chars(BASE64, 43) + " ada@host",
    "-----BEGIN CERTIFICATE-----\n" + chars(BASE64, 64) + "\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n" + chars(BASE64, 64) + "\n-----END PUBLIC KEY-----",
    "sk-learn-pipeline-for-production-v2",
    "bearer authentication is required",
    "password=${DB_PASSWORD}",
    "password=$DB_PASSWORD",
    "token={{ secrets.TOKEN }}",
    "--token <your token>",
    "api_key=vault://kv/ml/key",
    "token_env=HF_TOKEN",
    "policies.required_labels: approved",
    'key "password": first given at line 3',
    "token: it is not one word that follows",
    "postgres://ml:${PGPASSWORD}@db/x",
    "Schlüssel für die Übung, ключ, 鍵",
]

LOOKS_LIKE_A_LOGIN = [
    "https://user@host.example/x",
    "https://host.example:8443/a@b",
    "https://host.example/a/b@c?d=e:f",
    "git+https://github.com/org/repo@v1.2#egg=x",
    "git+ssh://git@github.com/org/repo.git@main",
    "git@gitlab.acme.example:team/repo.git",
    "ssh://git@host.example:22/team/repo",
    "s3://bucket/models/a@b/part:1",
    "s3://bucket/key@version",
    "gs://bucket/run@2024-01-01T12:30:00",
    "abfss://container@account.dfs.core.windows.net/a/b",
    "wasbs://container@account.blob.core.windows.net/a:b",
    "hdfs://user@namenode:8020/x",
    "team/image@sha256:" + chars(HEX, 64),
    "ghcr.io/team/image:1.2@sha256:" + chars(HEX, 64),
    "localhost:5000/image@sha256:" + chars(HEX, 64),
    "python:3.12-slim@sha256:" + chars(HEX, 64),
    "user@host",
    "user@host:/path",
    "user@host:22",
    "user@10.0.0.1:5432",
    "ada.lovelace+ml@example.com",
    "Ada Lovelace <ada@example.com>",
    "author: ada@example.com",
    "actions/checkout@v4",
    "org/repo@main",
    "org/repo@main:12",
    "org/repo/.github/workflows/x.yml@refs/heads/main",
    "a/b@c",
    "@scope/package@1.2.3",
    "node_modules/@scope/x@1.2",
    "//pkg/sub:target@x",
    "12:30@x",
    "at 12:30@/x",
    "12:30:45@host",
    "2024-01-01T12:30@node",
    "com.acme.train.Pipeline@1a2b3c4d",
    "acme.train:Pipeline.run@v2",
    "package.module:ClassName@main",
    "pkg:npm/x@1.2?arch=y",
    "pkg:docker/team/x@1.2",
    "npm:react@18.2.0",
    "arn:aws:sts::123456789012:assumed-role/Trainer/session@host",
    "/data:/mnt@/x",
    "Pwd={DB_PASSWORD};Server=db",
    "Server=db;Pwd=${DB_PASSWORD};Encrypt=true",
    "Server=db;Pwd={{ secrets.PW }};Encrypt=true",
    "Server=db;Pwd=masked:assigned_secret and more",
    "Basic authentication is required",
    "basic training of models",
    "Basic: enabled",
    '{"user": "ada", "key": "metadata.labels.team"}',
    '{"name": "x", "key": "' + chars(HEX, 32) + '"}',
    "https://x/y?page=2&z=1;v=2",
]


@pytest.mark.parametrize("text", LOOKS_LIKE_A_LOGIN)
def test_mask_look_alike_of_a_login_stays(text: str) -> None:
    assert (mask(text), mask_value({"a": [text]})) == (text, {"a": [text]})


@pytest.mark.parametrize("user", ["username", "user", "userName", "login"])
def test_mask_value_key_beside_a_username_is_masked(user: str) -> None:
    key = chars(HEX, 32)
    masked = {user: "u", "key": "masked:named_secret"}
    assert mask_value_report({user: "u", "key": key}) == (
        masked,
        (SuspectedSecret(path=("key",), detector="named_secret"),),
    )
    assert mask_value({user: "u", "key": "metadata.labels.team"}) == {user: "u", "key": "metadata.labels.team"}


@pytest.mark.parametrize(("detector", "secret"), SECRETS.items())
@pytest.mark.parametrize("around", ["{}", "before {} after", '"{}"', "({})", "x={};", "[{}, 1]", "ü{} ü", "a:{}:b"])
def test_mask_whole_secret_is_masked_alone(detector: str, secret: str, around: str) -> None:
    assert mask_report(around.format(secret)) == (around.format(f"masked:{detector}"), (detector,))


@pytest.mark.parametrize(
    ("detector", "text", "secret"),
    [(detector, text, secret) for detector, cases in IN_CONTEXT.items() for text, secret in cases],
)
def test_mask_secret_in_context_masks_only_the_secret(detector: str, text: str, secret: str) -> None:
    assert mask_report(text.format(secret)) == (text.format(f"masked:{detector}"), (detector,))


@pytest.mark.parametrize("text", PUBLIC)
def test_mask_public_text_stays(text: str) -> None:
    assert (mask_report(text), holds_secret(text)) == ((text, ()), False)


def test_mask_two_secrets_are_both_masked_and_named_in_order_of_place() -> None:
    text = f"{SECRETS['github_token']} postgres://u:hunter2@h/x {SECRETS['github_token']}"
    expected = "masked:github_token postgres://u:masked:url_password@h/x masked:github_token"
    assert mask_report(text) == (expected, ("github_token", "url_password"))


def test_mask_key_block_without_end_is_masked_to_the_end() -> None:
    text = "key: " + key_block().rsplit("\n", 1)[0]
    assert mask_report(text) == ("key: masked:private_key", ("private_key",))


def test_mask_key_block_with_escaped_line_ends_is_masked() -> None:
    text = json.dumps({"type": "service_account", "private_key": key_block("PRIVATE")})
    masked, detectors = mask_report(text)
    assert (json.loads(masked), detectors) == (
        {"type": "service_account", "private_key": "masked:private_key"},
        ("private_key",),
    )


def test_mask_writes_surrogates_out_and_leaves_controls() -> None:
    assert mask("a\udc80\x00b password=hunter2\udc80") == "a\\udc80\x00b password=masked:assigned_secret"
    assert (is_clean("a\udc80"), holds_secret("a\udc80")) == (False, False)


def test_mask_value_writes_surrogates_out_in_texts_and_keys() -> None:
    assert mask_value_report({"a\udc80": ["\udcff"]}) == ({"a\\udc80": ["\\udcff"]}, ())


def test_detectors_every_name_is_listed_once() -> None:
    used = {pattern.name for pattern in (*PATTERNS, *TOKENS, *URL_PATTERNS, *LOGINS)}
    used |= {"aws_secret_key", "named_secret", "assigned_secret", "high_entropy", "unstable"}
    assert (used, len(DETECTORS)) == (set(DETECTORS), len(set(DETECTORS)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", "hunter2"),
        ("dbPassword", "hunter2"),
        ("DB_PASS", "hunter2"),
        ("password", 12345),
        ("api_key", "k"),
        ("apiKey", "k"),
        ("APIKey", "k"),
        ("x-api-key", "k"),
        ("aws_secret_access_key", "k"),
        ("client_secret", "k"),
        ("token", "k"),
        ("hf.token", "k"),
        ("Authorization", "Basic abc"),
        ("connection_string", "Host=x"),
    ],
)
def test_mask_value_key_named_like_a_secret_masks_its_value(key: str, value: str | int) -> None:
    suspects = (SuspectedSecret(path=("a", key), detector="named_secret"),)
    assert mask_value_report({"a": {key: value}}) == ({"a": {key: "masked:named_secret"}}, suspects)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("provider", "azure_keyvault"),
        ("vault_url", "https://my-vault.vault.azure.net"),
        ("token_env", "HF_TOKEN"),
        ("password_file", "/run/secrets/db"),
        ("secret_name", "db"),
        ("secrets", "db"),
        ("access_key_id", "x"),
        ("max_tokens", 4096),
        ("tokenizer", "bert"),
        ("secretary", "ada"),
        ("monkey", "x"),
        ("password", None),
        ("password", True),
        ("password", ""),
        ("secret", "true"),
        ("token", "${HF_TOKEN}"),
        ("token", "env:HF_TOKEN"),
        ("secret", "azurekeyvault://v/db"),
        ("password", "<your password>"),
        ("password", {"valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}),
    ],
)
def test_mask_value_key_that_only_speaks_of_a_secret_keeps_its_value(key: str, value: Any) -> None:
    assert mask_value_report({"a": {key: value}}) == ({"a": {key: value}}, ())


def test_mask_value_lists_pairs_and_nested_values_report_their_paths() -> None:
    value = {
        "tokens": ["a", "b"],
        "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "HOST", "value": "db"}],
        "password": {"value": "hunter2", "length": 7},
        "store": "postgres://u:hunter2@h/x",
    }
    assert mask_value_report(value) == (
        {
            "tokens": ["masked:named_secret", "masked:named_secret"],
            "env": [{"name": "DB_PASSWORD", "value": "masked:named_secret"}, {"name": "HOST", "value": "db"}],
            "password": {"value": "masked:named_secret", "length": 7},
            "store": "postgres://u:masked:url_password@h/x",
        },
        (
            SuspectedSecret(path=("tokens", 0), detector="named_secret"),
            SuspectedSecret(path=("tokens", 1), detector="named_secret"),
            SuspectedSecret(path=("env", 0, "value"), detector="named_secret"),
            SuspectedSecret(path=("password", "value"), detector="named_secret"),
            SuspectedSecret(path=("store",), detector="url_password"),
        ),
    )


def test_mask_value_secret_under_a_secret_key_keeps_the_better_name() -> None:
    assert mask_value_report({"token": SECRETS["github_token"]}) == (
        {"token": "masked:github_token"},
        (SuspectedSecret(path=("token",), detector="github_token"),),
    )


def test_mask_value_secret_keys_are_masked_kept_apart_and_not_told_in_paths() -> None:
    value = {"ghp_" + chars(BASE62, 36, seed): seed for seed in range(3)}
    masked, suspects = mask_value_report(value)
    assert masked == {"masked:github_token": 0, "masked:github_token#2": 1, "masked:github_token#3": 2}
    assert [suspect.path for suspect in suspects] == [(key,) for key in masked]


def test_mask_value_order_of_keys_is_kept() -> None:
    value = {"z": 1, "password": "hunter2", "a": {"y": [1, {"x": 2}], "b": None}}
    assert json.dumps(mask_value(value)) == json.dumps(value).replace("hunter2", "masked:named_secret")


def test_mask_value_without_secrets_is_the_very_same_object() -> None:
    value = {"metadata": {"name": "prod"}, "list": [1, 2.5, None, True, "text"]}
    assert mask_value(value) is value


@pytest.mark.parametrize("leaf", ["hunter2", "postgres://u:hunter2@h/x"])
def test_mask_value_deep_nesting_is_walked_to_the_end(leaf: str) -> None:
    value: Any = {"password": leaf}
    for _ in range(20_000):
        value = [value]
    masked, suspects = mask_value_report(value)
    for _ in range(20_000):
        masked = masked[0]
    assert "hunter2" not in masked["password"]
    assert [len(suspect.path) for suspect in suspects] == [20_001]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["password", "value", "name"]), inner),
    max_leaves=20,
)
STARTS = [
    "password=",
    "://u:",
    "@h/",
    '"token": "',
    "masked:",
    "masked:jwt",
    "Bearer ",
    "\\",
    "'",
    "\n",
    ": ",
    "--token ",
]
pieces = st.sampled_from([*SECRETS.values(), *PUBLIC, *STARTS, "sig=", "AccountKey=", "-----BEGIN PRIVATE KEY-----"])
texts = st.lists(pieces | st.text(max_size=8), max_size=8).map("".join)


@given(texts)
def test_mask_is_idempotent(text: str) -> None:
    masked, _ = mask_report(text)
    assert mask_report(masked) == (masked, ())


@given(texts)
def test_mask_changes_nothing_exactly_when_it_names_nothing(text: str) -> None:
    masked, detectors = mask_report(text)
    assert (masked == text) == (detectors == ()) == (not holds_secret(text))


@given(json_values | st.dictionaries(texts, texts | st.lists(texts)))
def test_mask_value_is_idempotent_and_keeps_the_shape(value: Any) -> None:
    masked, suspects = mask_value_report(value)
    assert mask_value_report(masked) == (masked, ())
    assert (masked == value) == (suspects == ())
    json.dumps(masked)


@settings(max_examples=300)
@given(st.text(alphabet=BASE62, min_size=40, max_size=80).filter(looks_random), st.sampled_from(["", " ", '"', "a="]))
def test_mask_long_random_text_is_masked(secret: str, before: str) -> None:
    assert secret not in mask(before + secret)


@given(st.lists(texts, max_size=6))
def test_holds_secret_of_many_lines_says_what_each_line_says(lines: list[str]) -> None:
    blocks = [line for line in lines if "-----BEGIN" not in line]
    joined = "\n".join(blocks)
    assert holds_secret(joined) == any(holds_secret(line) for line in joined.split("\n"))


def test_entropy_is_shannons_in_bits() -> None:
    assert [entropy(text) for text in ("", "aaaa", "abab", "abcd")] == [0.0, 0.0, 1.0, 2.0]


UNITS = [
    *("a", "A1", "aB3", "=", "--", "\\", "/", "@", " ", "-", "A-", '"', "'", "://", "://a:", "://a:b", "://:@", "a://"),
    *("password=", "password=${", "password=<", "password=env:", '"password":"', "password: ", "--token ", "\n- "),
    *(
        "eyJ",
        "eyJ.",
        "-eyJ",
        "bearer ",
        "authorization: basic ",
        "authorization:",
        "ghp_",
        "sk-",
        "sig=",
        "AKIA",
        "SG.",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "-----BEGIN CERTIFICATE-----",
        "sha256:",
        "ssh-rsa ",
        "8Q~",
        "xoxb-",
    ),
    *(
        "https://u:p@",
        "u:p@h/",
        "u:@",
        "u:/",
        "u:p@h.",
        "hooks.slack.com/services/",
        "0123456789abcdef-",
        "aA0-",
        "${",
        "{{",
        "u:p@t(",
        "u:p@/",
        "u/p@//",
        "u/p@h:1521",
        "oracle://u/",
        "sqlplus -s u/",
        "basic YWRh",
        '"username":"u","key":"',
        ";pwd=",
        ";pwd={",
        ";pwd=a ",
        "pwd=a;",
        "pwd=a&",
        "pwd=a\\",
        'pwd="a""',
        "masked:",
        "masked:jwt ",
    ),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("tail", ["", "a", "@", "\n"])
def test_mask_long_hostile_text_comes_to_an_end(unit: str, tail: str) -> None:
    """A step that looked at the rest of the text for each of its characters would take minutes."""
    text = (unit + tail) * (200_000 // len(unit + tail))
    masked, _ = mask_report(text)
    assert mask_report(masked) == (masked, ())
