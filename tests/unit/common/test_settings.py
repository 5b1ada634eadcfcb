"""Settings out of an environment."""

import dataclasses

import pytest

from leadsman_common.settings import Common, SettingError, load, secret_values, setting, shown, variable


@dataclasses.dataclass(frozen=True)
class Every:
    text: str = setting("text", "t")
    whole: int = setting("whole", 1)
    real: float = setting("real", 1.5)
    flag: bool = setting("flag", False)
    words: tuple[str, ...] = setting("words", ())
    pairs: dict[str, str] = setting("pairs", dict)
    password: str = setting("password", "", secret=True)


@dataclasses.dataclass(frozen=True)
class Needed:
    queue_url: str = setting("queue to read")


@dataclasses.dataclass(frozen=True)
class Unreadable:
    raw: bytes = setting("raw", b"")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("text", "", ""),
        ("text", " a=b,c ", " a=b,c "),
        ("whole", "-12", -12),
        ("real", "2", 2.0),
        ("flag", "true", True),
        ("flag", "YES", True),
        ("flag", "1", True),
        ("flag", "0", False),
        ("flag", "No", False),
        ("flag", "", False),
        ("words", "a, b,,c ", ("a", "b", "c")),
        ("words", "", ()),
        ("pairs", "a=b, c = d=e ,f", {"a": "b", "c": "d=e", "f": ""}),
        ("pairs", "", {}),
    ],
)
def test_values(field, text, value):
    found = getattr(load(Every, {variable(field): text}), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("field", "text"),
    [("whole", "1.5"), ("whole", ""), ("whole", "ten"), ("real", "fast"), ("flag", "perhaps"), ("flag", " true")],
)
def test_malformed_values_name_their_variable(field, text):
    with pytest.raises(SettingError, match=f"LEADSMAN_{field.upper()}="):
        load(Every, {variable(field): text})


def test_a_secret_may_stand_in_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert load(Every, {"LEADSMAN_PASSWORD_FILE": str(file)}).password == "correct horse"
    assert load(Every, {"LEADSMAN_PASSWORD_FILE": "", "LEADSMAN_PASSWORD": "x"}).password == "x"
    assert load(Every, {"LEADSMAN_TEXT_FILE": str(file)}).text == "t"  # no secret, no file


def test_a_map_may_stand_in_both(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Options:
        options: dict[str, str] = setting("options", dict, secret=True)

    file = tmp_path / "options"
    file.write_text("sasl.password=x=y,a=2\n")
    env = {"LEADSMAN_OPTIONS": "security.protocol=sasl_ssl,a=1", "LEADSMAN_OPTIONS_FILE": str(file)}
    assert load(Options, env).options == {"security.protocol": "sasl_ssl", "sasl.password": "x=y", "a": "2"}


@pytest.mark.parametrize("more", [{}, {"LEADSMAN_PASSWORD": "x"}], ids=["no such file", "both"])
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path, more):
    path = tmp_path / "password"
    if more:
        path.write_text("y")
    with pytest.raises(SettingError, match="LEADSMAN_PASSWORD_FILE"):
        load(Every, {"LEADSMAN_PASSWORD_FILE": str(path), **more})


def test_defaults_are_not_shared():
    one, other = load(Every, {}), load(Every, {})
    assert one == other == Every()
    assert one.pairs is not other.pairs


def test_a_missing_setting_is_named_with_its_meaning():
    with pytest.raises(SettingError, match="LEADSMAN_QUEUE_URL is not set: queue to read"):
        load(Needed, {"QUEUE_URL": "x"})
    assert load(Needed, {"LEADSMAN_QUEUE_URL": "x"}).queue_url == "x"


def test_a_type_without_a_parser_is_a_mistake_of_the_programmer():
    with pytest.raises(TypeError, match="LEADSMAN_RAW"):
        load(Unreadable, {"LEADSMAN_RAW": "x"})


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("LEADSMAN_TEXT", "from the environment")
    assert load(Every).text == "from the environment"


def test_secrets_are_hidden_where_there_is_one():
    assert shown(Every(password="planted"))["password"] == "***"
    assert shown(Every())["password"] == ""
    assert shown(Common(kafka_options={"sasl.password": "planted"}))["kafka_options"] == "***"
    assert "planted" not in str(shown(Every(password="planted")))


def test_every_common_setting_has_a_meaning_and_a_default():
    assert load(Common, {}) == Common()
    assert all(field.metadata["meaning"] for field in dataclasses.fields(Common))


def test_every_mistake_is_told_at_once():
    env = {"LEADSMAN_WHOLE": "one", "LEADSMAN_FLAG": "perhaps", "LEADSMAN_PASSWORD_FILE": "/absent"}
    with pytest.raises(SettingError) as raised:
        load(Every, env)
    assert [line.split("=")[0] for line in str(raised.value).splitlines()] == [
        "LEADSMAN_WHOLE",
        "LEADSMAN_FLAG",
        "LEADSMAN_PASSWORD_FILE",
    ]


@dataclasses.dataclass(frozen=True)
class Checked:
    low: int = setting("low", 1)
    high: int = setting("high", 2)

    def __post_init__(self):
        if self.low > self.high:
            raise SettingError("LEADSMAN_LOW is above LEADSMAN_HIGH\nLEADSMAN_LOW and nothing else")


def test_what_follows_from_a_mistake_is_none_of_its_own():
    with pytest.raises(SettingError) as raised:
        load(Checked, {"LEADSMAN_LOW": "5", "LEADSMAN_HIGH": "x"})
    assert str(raised.value).splitlines() == ["LEADSMAN_HIGH='x' is not a int", "LEADSMAN_LOW and nothing else"]


def test_a_secret_file_is_read_again_when_it_changes(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("a,b\n")
    monkeypatch.setenv("LEADSMAN_KEYS_FILE", str(file))
    values = secret_values("keys", ("a", "b"))
    assert values() == ("a", "b")
    file.write_text("b, longer\n")
    assert values() == ("b", "longer")
    file.unlink()
    assert values() == ("b", "longer")
    monkeypatch.delenv("LEADSMAN_KEYS_FILE")
    assert secret_values("keys", ("x",))() == ("x",)
