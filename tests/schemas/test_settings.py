"""The environment: what it says is read once, and every mistake in it is told at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.settings import SECRETS, VARIABLES, Settings, SettingsError, load_settings

KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092"}
SASL = KAFKA | {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "wallet",
    "KAFKA_SASL_PASSWORD": "hunter2",
}


def mistakes(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load_settings(environ)
    return raised.value.mistakes


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({"HOME": "/home/ada"})
    assert settings.kafka_bootstrap_servers is None
    assert settings.database_url is None
    assert (settings.default_currency, settings.partitions) == ("USD", 12)
    assert settings.data_dir == Path("/home/ada/.local/share/wallet")
    assert settings.auto_create is True


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLET_DEFAULT_CURRENCY", "EUR")
    assert load_settings().default_currency == "EUR"


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings({"WALLET_PARTITIONS": "", "DATABASE_URL": ""}).partitions == 12


def test_data_goes_where_xdg_says_and_where_the_user_says() -> None:
    xdg = {"HOME": "/home/ada", "XDG_DATA_HOME": "/data"}
    assert load_settings(xdg).data_dir == Path("/data/wallet")
    assert load_settings(xdg | {"XDG_DATA_HOME": "relative"}).data_dir.is_relative_to("/home/ada")
    assert load_settings(xdg | {"WALLET_DATA_DIR": "/tmp/w"}).data_dir == Path("/tmp/w")  # noqa: S108


def test_every_mistake_is_told_at_once() -> None:
    told = mistakes(
        {
            "WALLET_PARTITION": "3",
            "WALLET_PARTITIONS": "many",
            "WALLET_BATCH_RECORDS_MAX": "0",
            "WALLET_DEFAULT_CURRENCY": "usd",
            "WALLET_TOPIC_PREFIX": "a/b",
            "WALLET_SESSION_TIMEOUT_MS": "100",
            "WALLET_LOG_FORMAT": "xml",
            "DATABASE_URL": "localhost",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_PASSWORD_FILE": "/nowhere/password",
        }
    )
    for variable in (
        "WALLET_PARTITION is no setting: WALLET_PARTITIONS is meant?",
        "WALLET_PARTITIONS='many'",
        "WALLET_BATCH_RECORDS_MAX='0'",
        "WALLET_DEFAULT_CURRENCY='usd'",
        "WALLET_TOPIC_PREFIX='a/b'",
        "WALLET_SESSION_TIMEOUT_MS='100'",
        "WALLET_LOG_FORMAT='xml'",
        "DATABASE_URL=*****",
        "KAFKA_SASL_MECHANISM is not set",
        "KAFKA_SASL_USERNAME is not set",
        "KAFKA_SASL_PASSWORD_FILE='/nowhere/password'",
    ):
        assert any(mistake.startswith(variable) for mistake in told), variable


def test_a_mistake_says_what_would_be_right() -> None:
    (mistake,) = mistakes({"WALLET_RELAY_RECORDS_MAX": "50000"})
    assert "40000" in mistake
    assert "Right: The most results and dead letters" in mistake


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_a_secret_is_never_shown(secret: str) -> None:
    scheme = "https" if secret == "FULFILLMENT_URL" else "postgresql"
    environ = SASL | {secret: f"{scheme}://u:hunter2@host/wallet", "WALLET_PARTITIONS": "x"}
    assert "hunter2" not in str(mistakes(environ))
    del environ["WALLET_PARTITIONS"]
    environ |= {
        "KAFKA_SSL_CERTIFICATE_LOCATION": "/c.pem",
        "KAFKA_SSL_KEY_LOCATION": "/k.pem",
    }
    assert "hunter2" not in repr(load_settings(environ))


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_a_wrong_secret_is_not_shown_either(secret: str) -> None:
    environ = {secret: "hunter2", "WALLET_DEBUG": "perhaps"}
    assert "hunter2" not in str(mistakes(environ))


def test_a_secret_may_come_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter3\n", encoding="utf-8")
    environ = {k: v for k, v in SASL.items() if k != "KAFKA_SASL_PASSWORD"}
    settings = load_settings(environ | {"KAFKA_SASL_PASSWORD_FILE": str(file)})
    assert settings.kafka_client()["sasl.password"] == "hunter3"


def test_a_secret_comes_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://db/a", encoding="utf-8")
    both = {"DATABASE_URL": "postgresql://db/b", "DATABASE_URL_FILE": str(file)}
    assert "both set" in mistakes(both)[0]
    url = load_settings({"WALLET_MIGRATE_DATABASE_URL_FILE": str(file)}).migrate_database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://db/a"


def test_a_file_that_is_no_text_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes(b"\xff\xfe")
    assert "no UTF-8" in mistakes({"DATABASE_URL_FILE": str(file)})[0]


def test_what_kubernetes_sets_for_a_service_named_wallet_is_no_mistake() -> None:
    load_settings(
        {
            "WALLET_SERVICE_HOST": "10.0.0.7",
            "WALLET_SERVICE_PORT": "80",
            "WALLET_SERVICE_PORT_HTTP": "80",
            "WALLET_PORT": "tcp://10.0.0.7:80",
            "WALLET_PORT_80_TCP_ADDR": "10.0.0.7",
            "WALLET_WORKER_SERVICE_HOST": "10.0.0.8",
        }
    )


def test_settings_of_the_connection_go_together() -> None:
    assert "no effect" in mistakes(KAFKA | {"KAFKA_SASL_USERNAME": "wallet"})[0]
    assert "no effect" in mistakes(KAFKA | {"KAFKA_SSL_CA_LOCATION": "/ca.pem"})[0]
    assert "go together" in mistakes(SASL | {"KAFKA_SSL_KEY_LOCATION": "/k.pem"})[0]


def test_kafka_clients_are_told_what_was_given_and_no_more() -> None:
    assert load_settings(KAFKA).kafka_client() == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "PLAINTEXT",
    }
    assert load_settings(SASL | {"KAFKA_SSL_CA_LOCATION": "/ca.pem"}).kafka_client() == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "wallet",
        "sasl.password": "hunter2",
        "ssl.ca.location": "/ca.pem",
    }


def test_without_brokers_there_is_no_client() -> None:
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS"):
        load_settings({}).kafka_client()


def test_settings_do_not_change() -> None:
    settings = load_settings({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.partitions = 3  # type: ignore[misc]


def test_every_setting_is_described_and_has_a_variable_of_its_own() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert len(VARIABLES) == len(Settings.model_fields)
