"""Personal data and secrets: what is found, how it is masked and restored, and the check."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.privacy import read_planted, score
from pipelines.dataset.checks.private import Policy, PrivateCheck
from pipelines.errors import DataError
from pipelines.privacy.detect import Finding, PrivateKind, find_private
from pipelines.privacy.kinds import plain
from pipelines.privacy.mask import Masker, load_salt
from pipelines.quotes import check_answer
from pipelines.records import Chunk, Example, ExampleKind, Message, Quote, Rejection, Span

SALT = bytes(range(32))
# Keys are put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp" + "_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n-----END RSA " + "PRIVATE KEY-----"
RESIDENT = "110101199003077758"

PLANTED = [
    "Jane.Miller@Example.com",
    "jane.miller@example.com",
    "212-555-0147",
    "+49 30 23125014",
    "13812345678",
    "4111 1111 1111 1111",
    "GB29 NWBK 6016 1331 9268 19",
    RESIDENT,
    "81.2.69.142",
    "password = hunter2!",
    "Dear Mr Miller,",
    "联系人：王小明",
    "[EMAIL-4F2A91]",
    "【email 4f2a91】",
    "[MARK-000000]",
    '"a quote" [2]',
]
PIECES = st.lists(
    st.one_of(st.sampled_from(PLANTED), st.text(alphabet=" ,.;:()[]【】-\n0aA的是", max_size=4), st.text(max_size=6)),
    max_size=8,
).map("".join)


def found(text: str) -> list[tuple[str, str]]:
    """Return the kinds and texts of what is found."""
    return [(each.kind.value, each.text) for each in find_private(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane@example.com.", [("EMAIL", "jane@example.com")]),
        ("jane (at) example (dot) com", [("EMAIL", "jane (at) example (dot) com")]),
        ("邮箱是wang@example.cn请查收", [("EMAIL", "wang@example.cn")]),
        ("地址ｗａｎｇ＠example.cn", [("EMAIL", "ｗａｎｇ＠example.cn")]),
        ("Ring (212) 555-0147 ext. 12 now", [("PHONE", "(212) 555-0147 ext. 12")]),
        ("the plumber (+34 612 34 59 53)", [("PHONE", "+34 612 34 59 53")]),
        ("My cell is 2125550147", [("PHONE", "2125550147")]),
        ("手机１３８１２３４５６７８", [("PHONE", "１３８１２３４５６７８")]),
        ("座机010-62771234", [("PHONE", "010-62771234")]),
        ("paid with 4111-1111-1111-1111", [("CARD", "4111-1111-1111-1111")]),
        ("to DE89 3704 0044 0532 0130 00 by Friday", [("IBAN", "DE89 3704 0044 0532 0130 00")]),
        ("Sort code 20-00-00, account number 55779911", [("BANK_ACCOUNT", "20-00-00"), ("BANK_ACCOUNT", "55779911")]),
        (f"身份证号{RESIDENT}。", [("NATIONAL_ID", RESIDENT)]),
        ("SSN: 123-45-6789", [("NATIONAL_ID", "123-45-6789")]),
        ("National Insurance number AB 12 34 56 C", [("NATIONAL_ID", "AB 12 34 56 C")]),
        ("CPF 111.444.777-35", [("NATIONAL_ID", "111.444.777-35")]),
        ("护照号：E12345678", [("NATIONAL_ID", "E12345678")]),
        ("came from 81.2.69.142 at noon", [("IP", "81.2.69.142")]),
        ("allow 2001:db8::ff00:42:8329", [("IP", "2001:db8::ff00:42:8329")]),
        ("hwaddr 00:1a:2b:3c:4d:5e", [("MAC", "00:1a:2b:3c:4d:5e")]),
        ("MAC:00:1a:2b:3c:4d:5e", [("MAC", "00:1a:2b:3c:4d:5e")]),
        ("物理地址：001a.2b3c.4d5e", [("MAC", "001a.2b3c.4d5e")]),
        ("IPv6：fe80::69c5:5ef4:97fe:4bc", [("IP", "fe80::69c5:5ef4:97fe:4bc")]),
        ("验证码已发送至13812345678", [("PHONE", "13812345678")]),
        (
            "取车前请给（13812345678）或021-58882956-801打电话",
            [("PHONE", "13812345678"), ("PHONE", "021-58882956-801")],
        ),
        (f"use {GITHUB} there", [("KEY", GITHUB)]),
        (f"key:\n{PRIVATE_KEY}\n", [("KEY", PRIVATE_KEY)]),
        ("postgres://shop:s3cret99@db/main", [("KEY", "shop:s3cret99")]),
        ('password = "hunter2!"', [("KEY", "hunter2!")]),
        ("无线网密码是Blue1234", [("KEY", "Blue1234")]),
    ],
)
def test_private_data_is_found_with_its_kind(text: str, expected: list[tuple[str, str]]) -> None:
    """Each kind is found in the forms that people write, English and Chinese."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dear Ms Patel,\nthank you", ["Patel"]),
        ("Dear Dr van der Berg:", ["van der Berg"]),
        ("Contact: Nora O'Brien, room 3", ["Nora O'Brien"]),
        ("Nora Hughes <nora@example.com>", ["Nora Hughes"]),
        ("Kind regards,\nJ. R. Miller", ["J. R. Miller"]),
        ("My name is Nora Hughes. Nora Hughes was here.", ["Nora Hughes", "Nora Hughes"]),
        ("联系人：欧阳雨桐", ["欧阳雨桐"]),
        ("尊敬的王伟先生", ["王伟"]),
        ("请找李经理", ["李"]),
        ("王小明 13812345678", ["王小明"]),
        ("Dear customer, dear all", []),
        ("Dear Sir or Madam,", []),
        ("Contact: Support Team", []),
        ("Name: Standard Tariff", []),
        ("各位先生女士", []),
        ("先生成订单，再付款", []),
        ("联系人：待定", []),
        ("温柔的女士", []),
    ],
)
def test_a_name_is_found_where_the_words_around_it_prove_it(text: str, expected: list[str]) -> None:
    """Titles, labels, greetings, signatures and addresses prove a name; capitals alone do not."""
    assert [each.text for each in find_private(text) if each.kind is PrivateKind.NAME] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Order number 2125550147 has shipped",
        "订单号13812345678已发货",
        "ISBN 978-0-306-40615-7",
        "9780306406157 is the second edition",
        "We run version 10.2.1.4 in production",
        "See section 3.1.2.4 of the contract",
        "Set the mask to 255.255.255.0, the host to 127.0.0.1",
        "range 10.0.0.0/8 is reserved",
        "2024-03-15 10:15:30 and 15.03.2024",
        "It cost $1,234,567.89 or 1 234 567,89 €",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "request 550e8400-e29b-41d4-a716-446655440000",
        "The tower stands at 51.5074, -0.1278.",
        "Part no. 212-555-0147",
        "4111 1111 1111 1112 has a wrong digit",
        "GB30 NWBK 6016 1331 9268 19 is no IBAN",
        "110101199003077751不是身份证号",
        "The number 123-45-6789 is a part",
        "@app.route('/login')",
        "user@ is the prefix",
        "logo@2x.png, git@example.com:acme/shop.git, lodash@4.17.21",
        "password = os.environ['DB_PASSWORD']",
        "password: required",
        "API_KEY=${API_KEY}",
        "max_tokens = 4096",
        "密码：不少于八位",
        "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
        "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
        'He said "we open at nine" [2].',
    ],
)
def test_what_only_looks_private_is_left_alone(text: str) -> None:
    """Orders, books, versions, dates, prices, sums, code and citations are not taken for personal data."""
    assert found(text) == []


@given(PIECES)
def test_finds_are_in_order_apart_and_point_into_the_text(text: str) -> None:
    """Finds never overlap, and their text stands where they say."""
    end = 0
    for each in find_private(text):
        assert end <= each.start < each.end
        assert text[each.start : each.end] == each.text
        end = each.end


@given(st.text())
def test_the_searched_form_keeps_every_offset(text: str) -> None:
    """Full-width characters become plain ones, one for one."""
    assert len(plain(text)) == len(text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_planted_set_is_found_within_the_bars(language: str) -> None:
    """Structured personal data: precision of 0.98 and recall of 0.95 at least, in each language."""
    planted = read_planted(language)
    structured = score(planted, [kind for kind in PrivateKind if kind is not PrivateKind.NAME])
    assert structured.precision >= 0.98
    assert structured.recall >= 0.95


@pytest.mark.parametrize(
    "piece", ["1", "1 ", "12,", "1/", "a.", "a@b.", "Ab ", "Best\n", "password: ", "[EMAIL ", "王先", "+1 "]
)
def test_no_text_takes_long_to_search(piece: str) -> None:
    """Text that repeats what a pattern begins with is searched to its end."""
    find_private(piece * 5_000)


def test_a_placeholder_is_the_same_for_every_spelling_and_order() -> None:
    """Case, spaces and what was masked before change nothing; another salt changes all."""
    first, second = Masker(SALT), Masker(SALT)
    second.mask("Call 020 7946 0018, or write to nora@example.com")
    assert first.mask("jane@example.com") == second.mask("JANE@Example.com")
    assert first.mask("+49 30 23125014") == second.mask("+49 (0)30 2312-5014")
    assert first.mask("jane@example.com") != Masker(SALT[::-1]).mask("jane@example.com")
    assert re.fullmatch(r"\[EMAIL-[0-9A-F]{6}\]", first.mask("jane@example.com"))


@given(PIECES)
@example("jane@example.com JANE@example.com [EMAIL-4F2A91][EMAIL-4F2A91-2] jane@example.com")
@example("[PHONE 212-555-0147]")
@example("【" + "13812345678" + "】[NAME-" + "王小明")
def test_restoring_what_was_masked_gives_the_text(text: str) -> None:
    """Masked and restored, every text is what it was, also when it holds placeholders already."""
    masker = Masker(SALT)
    masker.mask("seen before: Jane.MILLER@example.com, 138-1234-5678")
    assert masker.restore(masker.mask(text)) == text
    assert masker.restore(masker.mask(text), source=text) == text
    again = masker.mask(masker.mask(text))
    assert masker.restore(masker.restore(again)) == text


@given(st.lists(st.sampled_from(PLANTED), max_size=8).map("\n".join))
def test_what_is_redacted_holds_nothing_private(text: str) -> None:
    """Nothing is found in what was redacted, so redacting again changes nothing."""
    masker = Masker(SALT)
    redacted = masker.redact(text)
    assert find_private(redacted) == []
    assert masker.redact(redacted) == redacted


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_planted_set_is_masked_and_restored(language: str) -> None:
    """Of every planted text nothing that was found is left, and restoring gives it back."""
    masker = Masker(SALT)
    for row in read_planted(language):
        masked = masker.mask(row.text)
        for each in find_private(row.text):
            if each.kind is not PrivateKind.NAME:
                assert each.text not in masked
        assert masker.restore(masked) == row.text


@pytest.mark.parametrize(
    "damage",
    [
        str.lower,
        lambda text: text.replace("-", " "),
        lambda text: text.replace("-", ""),
        lambda text: text.replace("-", "_"),
        lambda text: text.replace("-", "－"),
        lambda text: text.replace("[", "【").replace("]", "】"),
        lambda text: text.replace("[", "［ ").replace("]", " ］"),
    ],
)
def test_a_damaged_placeholder_is_restored(damage: Callable[[str], str]) -> None:
    """Case, hyphen and brackets may suffer on the way through a model."""
    masker = Masker(SALT)
    placeholder = masker.mask("jane@example.com")
    assert masker.restore(f"Ask {damage(placeholder)}.") == "Ask jane@example.com."


def test_an_unknown_placeholder_stays_as_it_is() -> None:
    """What this masker never made is not touched."""
    assert Masker(SALT).restore("[EMAIL-000000] 【phone 123456】") == "[EMAIL-000000] 【phone 123456】"


def test_a_placeholder_that_stands_in_a_text_is_not_taken_for_the_value() -> None:
    """A text may quote the very placeholder of a value; both come back as they were."""
    masker = Masker(SALT)
    text = f"{masker.mask('jane@example.com').lower()} stands for jane@example.com"
    assert masker.restore(masker.mask(text)) == text


def test_spellings_in_one_text_are_told_apart() -> None:
    """A second spelling of a value gets a number, and both come back to the letter."""
    masker = Masker(SALT)
    masked = masker.mask("Jane@example.com, jane@example.com, Jane@example.com")
    first, second, third = masked.split(", ")
    assert first == third
    assert second == first.replace("]", "-2]")
    assert masker.restore(second) == "jane@example.com"


class CrowdedMasker(Masker):
    """A masker whose values all share their first eight digits."""

    def _hash(self, word: str, value: str) -> str:
        return "ABCDEF01" + super()._hash(word, value)[8:]


def test_values_that_share_their_digits_in_one_text_get_longer_ones() -> None:
    """Two values of one text never have one placeholder, in whatever order they stand."""
    one, other = "jane@example.com", "nora@example.com"
    masker = CrowdedMasker(SALT)
    masked = masker.mask(f"{one} {other}").split()
    assert masked[0] != masked[1]
    assert all(len(each) > len("[EMAIL-ABCDEF01]") for each in masked)
    assert masker.mask(f"{other} {one}").split() == masked[::-1]
    assert masker.restore(" ".join(masked)) == f"{one} {other}"


def test_values_that_share_their_digits_across_texts_are_not_confused() -> None:
    """Without its source, an ambiguous placeholder stays; with it, the right value comes back."""
    masker = CrowdedMasker(SALT)
    masked = masker.mask("jane@example.com")
    assert masker.mask("nora@example.com") == masked
    assert masker.restore(masked) == masked
    assert masker.restore(masked, source="jane@example.com") == "jane@example.com"
    assert masker.restore(masked, source="nora@example.com") == "nora@example.com"


def test_a_source_decides_the_spelling() -> None:
    """The text that a reply is about gives its own spelling, whatever was masked since."""
    masker = Masker(SALT)
    masked = masker.mask("Jane@Example.com")
    masker.mask("jane@example.com")
    assert masker.restore(masked, source="Jane@Example.com") == "Jane@Example.com"


def test_a_placeholder_is_no_citation() -> None:
    """The form of a citation is a number in brackets; a placeholder never reads as one."""
    chunk = Chunk(id="c", document="d", start=0, end=16, text="jane@example.com")
    masked = Masker(SALT).mask('She said "write to jane@example.com".')
    assert check_answer(masked, [chunk]).unproved == ()
    assert check_answer(masked, [chunk]).quotes == ()


def test_a_short_salt_is_refused() -> None:
    """A salt that could be guessed is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least 16 bytes, got 3"):
        Masker(b"abc")


def test_the_salt_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """Whoever asks first makes the salt; all get the same, and nobody else can read it."""
    path = tmp_path / "deep" / "salt"
    with ThreadPoolExecutor(8) as pool:
        salts = set(pool.map(load_salt, [path] * 16))
    assert len(salts) == 1
    assert len(salts.pop()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(path.parent.glob("*.partial"))


def test_a_damaged_salt_is_not_replaced_in_silence(tmp_path: Path) -> None:
    """A salt of the wrong length is an error that says what to do."""
    path = tmp_path / "salt"
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes, expected a salt of 32") as caught:
        load_salt(path)
    assert "remove it" in caught.value.hint
    assert path.read_bytes() == b"short"


def test_a_salt_in_an_impossible_place_is_an_expected_error(tmp_path: Path) -> None:
    """What the file system refuses is told as our own error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot read or make the salt"):
        load_salt(tmp_path / "file" / "salt")


def example_of(**fields: object) -> Example:
    """Return an example with these fields."""
    given = {"id": "1", "kind": "grounded", "question": "Who?", "answer": "Nobody.", "teacher": "t", "prompt": "p@1"}
    return Example.model_validate(given | fields)


def check(policy: Policy, **fields: object) -> Example | Rejection:
    """Return what the check makes of such an example."""
    return PrivateCheck(policy, masker=Masker(SALT))(example_of(**fields))


@pytest.mark.parametrize("policy", ["keep", "mask", "reject"])
def test_an_example_without_private_data_passes_unchanged(policy: Policy) -> None:
    """Nothing is found, nothing is changed, nothing is scored."""
    assert check(policy) == example_of()


def test_keep_changes_nothing_but_the_score() -> None:
    """What is kept says how many private values it holds, each counted once."""
    text = "Write to jane@example.com"
    kept = check("keep", question=text, messages=[Message(role="user", content=text)] * 2)
    assert isinstance(kept, Example)
    assert kept.question == text
    assert kept.scores == {"private": 1.0}


def test_reject_drops_the_example_with_the_kinds_and_not_the_values() -> None:
    """The reason names what was found, and does not repeat it."""
    dropped = check("reject", answer="Call 212-555-0147 or write to jane@example.com")
    assert isinstance(dropped, Rejection)
    assert dropped.check == "private"
    assert dropped.reason == "it holds personal data: EMAIL, PHONE"
    assert dropped.example is not None
    assert dropped.example.scores == {"private": 2.0}


def test_mask_replaces_every_text_of_the_example_alike() -> None:
    """Question, answer, messages and the worse answer get the same placeholder for the same value."""
    text = "Write to jane@example.com"
    masked = check("mask", question=text, answer=text, rejected=text, messages=[Message(role="user", content=text)] * 2)
    assert isinstance(masked, Example)
    texts = {masked.question, masked.answer, masked.rejected, *(message.content for message in masked.messages)}
    assert len(texts) == 1
    assert re.fullmatch(r"Write to \[EMAIL-[0-9A-F]{6}\]", texts.pop())
    assert masked.scores == {"private": 1.0}


@pytest.mark.parametrize("policy", ["mask", "reject"])
def test_a_secret_drops_the_example(policy: Policy) -> None:
    """A key is never trained on, not even masked."""
    dropped = check(policy, answer=f"The token is {GITHUB}.")
    assert isinstance(dropped, Rejection)
    assert dropped.reason == "it holds a key or a password"


def test_a_quote_with_personal_data_cannot_be_masked() -> None:
    """A masked quote would not be the document's text, so the example is dropped, and the reason says so."""
    quote = Quote(document="d", quote="Write to jane@example.com.", start=0, end=26)
    dropped = check("mask", quotes=[quote])
    assert isinstance(dropped, Rejection)
    assert dropped.reason == "a quote holds personal data, so it cannot be masked and stay verbatim: EMAIL"
    assert isinstance(check("keep", quotes=[quote]), Example)


def test_spans_move_with_the_masked_text() -> None:
    """A label stays on its words when a placeholder before, in or around it changes the length."""
    question = "Ask jane@example.com about Leeds and 212-555-0147"
    labelled = {"EMAIL": "jane@example.com", "CITY": "Leeds", "AREA": "212", "LAST": "0147"}
    spans = [Span(start=question.index(v), end=question.index(v) + len(v), label=k) for k, v in labelled.items()]
    masked = check("mask", kind=ExampleKind.SPANS, question=question, spans=spans)
    assert isinstance(masked, Example)
    words = {span.label: masked.question[span.start : span.end] for span in masked.spans}
    assert words["CITY"] == "Leeds"
    assert words["EMAIL"].startswith("[EMAIL-")
    assert words["AREA"] == words["LAST"]
    assert re.fullmatch(r"\[PHONE-[0-9A-F]{6}\]", words["AREA"])


def test_masking_needs_a_masker() -> None:
    """The policy that masks cannot work without the salt."""
    with pytest.raises(ValueError, match="needs a masker"):
        PrivateCheck("mask")


def test_a_finding_is_a_value() -> None:
    """Two finds of the same are equal and can be members of a set."""
    assert {Finding(PrivateKind.IP, 0, 1, "x")} == {Finding(PrivateKind.IP, 0, 1, "x")}
