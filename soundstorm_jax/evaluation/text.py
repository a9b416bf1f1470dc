"""English text as a recogniser's words are compared with a transcript's.

Both lose case and punctuation, numbers and a few abbreviations are spelled out,
and British spellings that books have become American ones. What is left of two
ways to write the same counts as errors, in every row of a table alike.
"""

import re
import unicodedata

_SPELLED = {
  "mr": "mister",
  "mrs": "missus",
  "messrs": "messieurs",
  "dr": "doctor",
  "st": "saint",
  "mt": "mount",
  "jr": "junior",
  "esq": "esquire",
  "etc": "et cetera",
  "ok": "okay",
  "grey": "gray",
  "theatre": "theater",
  "centre": "center",
  "anyone": "any one",
  "everyone": "every one",
  "forever": "for ever",
}
_SIGNS = {"&": " and ", "%": " percent ", "+": " plus ", "=": " equals "}
_OUR = re.compile(
  r"\b(arm|behavi|cand|clam|col|endeav|fav|flav|glam|harb|hon|hum|lab|neighb|"
  r"od|parl|ranc|rig|rum|sav|splend|succ|tum|val|vap|vig)our"
)
_SMALL = (
  "zero one two three four five six seven eight nine ten eleven twelve "
  "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_LARGE = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = _SMALL.split(), _LARGE.split()
_GROUPS = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
  "one": "first",
  "two": "second",
  "three": "third",
  "five": "fifth",
  "eight": "eighth",
  "nine": "ninth",
  "twelve": "twelfth",
}


def normalise(text: str) -> str:
  """Lower-case words of letters and apostrophes, a space between them."""
  text = unicodedata.normalize("NFKD", text).lower().replace("\u2019", "'")
  text = "".join(c for c in text if not unicodedata.combining(c))
  text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
  # A time, not a fraction.
  text = re.sub(r"\b(\d+):(\d\d)\b", r"\1 \2", text)
  text = re.sub(r"[$\u00a3]\s*(\d+)", _money, text)
  for sign, word in _SIGNS.items():
    text = text.replace(sign, word)
  text = re.sub(r"(\d+)\.(\d+)", _decimal, text)
  text = re.sub(r"\b(\d+)(st|nd|rd|th)\b", _ordinal, text)
  text = re.sub(r"\d+", lambda match: f" {_year_or_number(match[0])} ", text)
  words = re.findall(r"[a-z]+(?:'[a-z]+)*", text)
  words = [_SPELLED.get(word, word) for word in words]
  return _OUR.sub(r"\1or", " ".join(words))


def spell(number: int) -> str:
  """A whole number from 0 in words, as in "two hundred and five"."""
  if number < 20:
    return _ONES[number]
  if number < 100:
    tens, ones = divmod(number, 10)
    return " ".join([_TENS[tens - 2], *([_ONES[ones]] if ones else [])])
  if number < 1000:
    hundreds, rest = divmod(number, 100)
    words = f"{_ONES[hundreds]} hundred"
    return f"{words} and {spell(rest)}" if rest else words
  for size, name in _GROUPS:
    if number >= size:
      groups, rest = divmod(number, size)
      words = f"{spell(groups)} {name}"
      return f"{words} {spell(rest)}" if rest else words
  raise ValueError(f"number must not be negative, got {number}")


def _year_or_number(digits: str) -> str:
  number = int(digits)
  if len(digits) == 4 and 1100 <= number < 2000 and number % 100:
    first, last = divmod(number, 100)
    return f"{spell(first)} {'o ' if last < 10 else ''}{spell(last)}"
  return spell(number)


def _money(match: re.Match) -> str:
  return f"{match[1]} {'dollars' if match[0][0] == '$' else 'pounds'}"


def _decimal(match: re.Match) -> str:
  digits = " ".join(_ONES[int(digit)] for digit in match[2])
  return f"{spell(int(match[1]))} point {digits}"


def _ordinal(match: re.Match) -> str:
  *start, last = spell(int(match[1])).split()
  if last in _ORDINALS:
    last = _ORDINALS[last]
  else:
    last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
  return " ".join([*start, last])
