"""Fifty strings that an attacker may put wherever a name stands, and what no receiver may ever be shown."""

import re
import unicodedata

STRINGS = [
    "\x1b[2J\x1b[31mroot\x07", "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x9b31m",
    "alice\r\n2026-01-01T00:00:00Z CRITICAL forged", "a\nb", "a\rb", "a\r\nBcc: eve@evil.example", "a\r\n\r\n<html>",
    "\u202egnp.exe\u2066\u2069", "\u200f\u061cabc", "ad\u200bmin\ufeff\u2060", "x\U000e0041\U000e007f",
    "\u3164\u2800\uffa0", "a\u2028b\u2029c\x85d", "\x00nul", "\x08\x08\x08back", "tab\tab", "e\u0301\u0300\u0301" * 20,
    "<!channel> <!here|here> <!everyone>", "<!subteam^S1> <@U012AB3CD> <#C024BE7LR>", "@here @channel",
    "(@everyone) x@HERE,@all", "<at>Everyone</at>", "<users/all>", "[click](https://evil.example)",
    "![x](https://evil.example/p.png)", "<https://evil.example|click> https://evil.example", "http://169.254.169.254/",
    "&lt;!channel&gt; &amp;", "*b* _i_ ~s~ `code` ```block``` > quote", "**bold** __under__ ~~strike~~ ||spoiler||",
    "# heading\n- item", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "'\"><svg/onload=alert(1)>",
    "</td></tr></table><h1>forged</h1>", "javascript:alert(1)", "{{7*7}} {% raw %} ${7*7} <%= 1 %>", "%s %n %x {0}",
    '=HYPERLINK("https://evil.example")', "@SUM(1+1)*cmd|' /C calc'!A0", "+1-1", 'x" id=forged level="low',
    'a="b\\" ]c] [forged x="1"]', "\\", "A" * 20_000, "<!channel>" * 2_000, "\\u202e \\x1b", "Zoë 東京 🙂",
]  # fmt: skip

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def hidden(text):
    """The characters of a text that cannot be seen or that act."""
    if text.isascii() and text.isprintable():  # some are megabytes
        return set()
    return {c for c in text if unicodedata.category(c) in HIDDEN}


def mentions(text):
    """What would call somebody together in some service."""
    return re.findall(
        r"(?<![\w.+-])@\w+|@(?:here|channel|everyone|all)\b|<!\w+|<[@#]|<at>|<users/", text, re.IGNORECASE
    )


def poisoned(alert, text):
    """The alert with `text` wherever a string can stand, but for the level."""

    def poison(value):
        if isinstance(value, str):
            return text
        if isinstance(value, list):
            return [poison(item) for item in value] * 2
        return {key: poison(item) for key, item in value.items()} if isinstance(value, dict) else value

    bad = poison(alert)
    return {**bad, "level": "high", "attempt": True, "evidence": bad["evidence"] * 4}
