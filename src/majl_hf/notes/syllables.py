"""Words divided into syllables as they are sung.

Hyphenation dictionaries say where a word may be broken at the end of a printed line. That is less than its syllables
("over" is never broken), so they are one of two sources:

- How many syllables: one for each group of vowels that sound as one, by the rules of the language below; a break of
  the dictionary within a group divides it ("cre-ate").
- Where a syllable ends: at the break of the dictionary between two groups, otherwise so that the next one begins with
  a single consonant or a pair that can begin a word.

Words of Chinese and Japanese are divided into characters, where small kana belong to the one before, and words of
Korean into blocks. Words of other scripts without a dictionary are one syllable.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import pairwise

from ..errors import MajlError

_WITHOUT_BLANKS = "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han, kana
_CJK = _WITHOUT_BLANKS + "\uac00-\ud7a3\uff66-\uff9f"  # and Hangul, narrow kana
_JOINS_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー\uff67-\uff70\uff9e\uff9f"
_APOSTROPHES = "'’ʼ"
_UNIT = re.compile(
    rf"(?P<character>[{_CJK}][{_JOINS_KANA}]*)"
    rf"|(?P<letters>[^\W\d_{_CJK}](?:[{_APOSTROPHES}]*[^\W\d_{_CJK}])*)"
    rf"|(?P<other>.)",
    re.DOTALL,
)

_VOWEL_LETTERS = "aeiouyæœøıə" + "αεηιουω" + "аеёиоуыэюяіїє"
_PLACEHOLDER = "w"  # a consonant, in place of a vowel letter that is spoken as one
# Letters that sound as one vowel; V is any vowel letter. Longer ones first.
_EACH_VOWEL = "V"
_GROUPS = {
    "de": "ie|ei|ai|au|eu|äu|aa|ee|oo|ey|ay|oy|ui|V",
    "nl": "aai|ooi|oei|eeu|ieu|aa|ee|oo|uu|ie|ei|au|ou|ui|eu|oe|V",
    "es": "[iuü]?[aeoáéó][iuy]?|[iu]{2}|V",
    "it": "iao|[iu]?[aeoàèéòó][iu]?|[iu]{2}|V",
    "pt": "ão|ãe|õe|[aeoáéóâêôà][iu]|ui|iu|V",
    "ca": "[aeoàèéòó][iu]|V",
    "fr": "é(?:es?$)?|(?<=[bcdfgptv][lr])i(?=[aeéèo])(?!es?$)|V(?:(?![ëïüé])V)*",
    "pl": "i[aąeęoóu]|au|V",
    "cs": "au|eu|ou|V|(?<=C)[rl](?=C)",
    "sk": "ia|ie|iu|au|ou|V|(?<=C)[rlŕĺ](?=C)",
    "hr": "V|(?<=C)r(?=C)",
    "sr": "V|(?<=C)r(?=C)",
    "sl": "V|(?<=C)r(?=C)",
    "fi": "aa|ee|ii|oo|uu|yy|ää|öö|ai|ei|oi|ui|yi|äi|öi|au|eu|iu|ou|ey|äy|öy|ie|uo|yö|V",
    "et": "aa|ee|ii|oo|uu|ää|öö|õõ|üü|ai|ei|oi|ui|au|ou|õu|äi|öi|V",
    "sv": "au|eu|V",
    "da": "au|eu|V",
    "no": "au|eu|øy|ei|V",
    "el": "ού|ου|αί|αι|εί|ει|οί|οι|υι|αύ|αυ|εύ|ευ|V",
    **dict.fromkeys(("hu", "tr", "id", "ru", "uk", "be", "bg"), _EACH_VOWEL),
}
_UNKNOWN_GROUPS = "V+"
_Y_IS_VOWEL = {"pl", "fi", "sv", "da", "no", "nb", "cs", "sk", "lt", "tr", "hu"}
_DICTIONARIES = {"en": "en_US", "de": "de_DE", "pt": "pt_BR", "no": "nb_NO", "sr": "sr_Latn"}

_ONSETS = """
    bl br ch cl cr dr fl fr gh gl gn gr kn ph pl pr qu gu sc sh sk sl sm sn sp st sw th tr tw wh wr
    бл бр вл вр гл гр др зр кл кр пл пр сл см сп ст тр фл фр хр
"""
_MORE_ONSETS = {"es": "ll rr", "de": "sch pf zw"}

_ENGLISH_DIVISIONS = {
    "every": "eve-ry",
    "everything": "eve-ry-thing",
    "everybody": "eve-ry-bo-dy",
    "everyone": "eve-ry-one",
    "everywhere": "eve-ry-where",
    "everyday": "eve-ry-day",
    "evening": "eve-ning",
    "business": "busi-ness",
    "rhythm": "rhy-thm",
    "naked": "na-ked",
    "wicked": "wick-ed",
    "sacred": "sa-cred",
    "crooked": "crook-ed",
    "wretched": "wretch-ed",
    "aren't": "aren't",
    "weren't": "weren't",
    "maybe": "may-be",
    "karaoke": "ka-ra-o-ke",
    "ruin": "ru-in",
    "ruined": "ru-ined",
    "science": "sci-ence",
    "society": "so-ci-e-ty",
}
# Within a run of vowel letters, where an English syllable ends; `^C*` is a run that is the first of its word.
_ENGLISH_HIATUS = re.compile(
    r"(?<=^C)i(?=[aou])|(?<=^CC)i(?=[aou])|(?<=^CCC)i(?=[aou])"  # li-on, tri-al
    r"|(?<![ctsxgln])i(?=[aou](?!ge))"  # ra-di-o, but na-tion, mar-riage
    r"|(?<![ctfr])i(?=et$|ety|ence|ent)|(?<=r)i(?=ence|et|ent)"  # qui-et, cli-ent
    r"|(?<=[aeouy])(?=ings?$)"  # go-ing
    r"|(?<=V.)e(?=as?$)|(?<=V..)e(?=as?$)|(?<=cr)e(?=at[eio])|(?<=r)e(?=ali)|(?<=th)e(?=at)"  # i-de-a, cre-ate
    r"|(?<![pg])e(?=o)"  # vi-de-o, but peo-ple
    r"|(?<![gq])u(?=a)|u(?=els?$|els?\W|et$|ence|ent)"  # ac-tu-al, cru-el
    r"|(?<=p)o(?=e[mt])|(?<=ch)a(?=o)".replace("C", "[^aeiouy]").replace("V", "[aeiouy]")
)
# Syllables without a vowel letter: did-n't, it-'ll.
_ENGLISH_ENDINGS = re.compile(rf"(?<=[bcdfgkmpstvz])(?:n[{_APOSTROPHES}]t|[{_APOSTROPHES}](?:ll|ve))$")
_ENGLISH_SILENT = re.compile(r"(?:(?<!ch)(?<!sh)(?<![sxzcg])es|(?<![td])ed|e)$")
_ENGLISH_SPOKEN = re.compile(r"[^aeiouylrw]l(?:e|es|ed)$")

# Words that show which language a song is in.
_COMMON_WORDS = {
    "en": "the and you to my me of in it is that your we with for on be all don't can't this are was when what no",
    "de": "und ich du die der das nicht ist ein mich mir dich wir es auf wenn mit den doch nur wie was für zu",
    "fr": "et je tu le les des est pas que qui dans une pour mon moi toi nous mais sur au ce il elle c'est",
    "es": "y yo tú el los que de la en un una no mi te me por con para como está pero más ya tu se lo",
    "it": "e io tu il che di non un una mi ti per con come sei più ma è della nel questo sono se gli",
    "pt": "e eu você o os que de não um uma meu me te por com para como mais mas é do da em tá se",
    "nl": "en ik je de het een niet dat van is mij jij voor met maar op zo wat als ben er nog",
    "sv": "och jag du det en inte är att som på för med mig dig så vi har när den ett till",
    "pl": "i ja ty nie się to w na jest że jak mnie co z do ten tak już gdy moje",
}


def syllabify(word: str, language: str = "") -> tuple[str, ...]:
    """The syllables of a word, in order; together they are the word.

    Punctuation, capitals and apostrophes are kept: "(Didn't," is "(Did", "n't,".

    Args:
        word: Without blanks.
        language: ISO 639-1 code of its language; "" if unknown, when each group of vowel letters is a syllable.

    Returns:
        At least one syllable, unless the word is empty.

    Raises:
        MajlError: pyphen is missing, and the word is in a script and a language that need it.
    """
    syllables: list[str] = []
    before = ""  # opening punctuation, which belongs to the syllable after it
    for match in _UNIT.finditer(unicodedata.normalize("NFC", word)):
        text = match.group()
        if match["other"]:
            if not syllables or before or unicodedata.category(text) in ("Ps", "Pi"):
                before += text
            else:
                syllables[-1] += text
            continue
        parts = [text] if match["character"] else _divided(text, language)
        syllables += [before + parts[0], *parts[1:]]
        before = ""
    if before:
        syllables = [*syllables[:-1], syllables[-1] + before] if syllables else [before]
    return tuple(syllables)


def is_written_without_blanks(letter: str) -> bool:
    """Whether it is a letter of Chinese or Japanese, whose words have no blanks between them."""
    return re.match(f"[{_WITHOUT_BLANKS}]", letter) is not None


def guess_language(words: Iterable[str]) -> str:
    """The language that has most of these among its common words, as an ISO 639-1 code; "" if they are too few."""
    found = {word.lower().replace("’", "'").strip("!?.,;:()\"'") for word in words}
    counts = {language: len(found.intersection(common.split())) for language, common in _COMMON_WORDS.items()}
    best, second = sorted(counts, key=counts.get, reverse=True)[:2]
    return best if counts[best] >= 3 and counts[best] > counts[second] else ""


def _divided(word: str, language: str) -> list[str]:
    """Syllables of a word of letters and apostrophes."""
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in word)
    if language == "en" and (division := _ENGLISH_DIVISIONS.get(lowered.replace("’", "'"))):
        lengths = [len(part) for part in division.split("-")]
        return _cut(word, [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)])
    positions = [i for i, c in enumerate(lowered) if c not in _APOSTROPHES]
    letters = "".join(lowered[i] for i in positions)
    breaks = _dictionary_breaks(letters, language)
    if not any(_is_vowel(c) for c in letters):
        has_vowel_letters = unicodedata.name(letters[0], "").startswith(("LATIN", "GREEK", "CYRILLIC"))
        return [word] if has_vowel_letters else _cut(word, [positions[i] for i in breaks])
    endings = []
    if language == "en" and (ending := _ENGLISH_ENDINGS.search(lowered)):
        endings = [ending.start()]
        letters = letters[: sum(position < ending.start() for position in positions)]
        breaks = [i for i in breaks if i < len(letters)]
    nuclei = _nuclei(letters, breaks, language)
    cuts = [positions[_boundary(letters, end, begin, breaks, language)] for (_, end), (begin, _) in pairwise(nuclei)]
    return _cut(word, cuts + endings)


def _cut(word: str, positions: list[int]) -> list[str]:
    return [word[a:b] for a, b in zip([0, *positions], [*positions, len(word)], strict=True)]


def _is_vowel(letter: str) -> bool:
    return letter in _VOWEL_LETTERS or unicodedata.normalize("NFD", letter)[0] in _VOWEL_LETTERS


def _nuclei(letters: str, breaks: list[int], language: str) -> list[tuple[int, int]]:
    """Begin and end of each group of letters that is a syllable's vowel."""
    letters = _with_consonants_masked(letters, language)
    # The dictionary is not made for one letter at an end of a word.
    hiatus = {i for i in breaks if 2 <= i <= len(letters) - 2}
    if language == "en":
        hiatus |= {match.end() for match in _ENGLISH_HIATUS.finditer(letters)}
    nuclei = []
    for begin, end in _groups(letters, language):
        inside = sorted(i for i in hiatus if begin < i < end)
        nuclei += zip([begin, *inside], [*inside, end], strict=True)
    if language in ("en", "fr"):
        nuclei = [span for span in nuclei if not _is_silent(letters, span, breaks, language)] or nuclei[:1]
    return nuclei


def _with_consonants_masked(letters: str, language: str) -> str:
    """The word with placeholders for u and y where they are consonants: quick, guitar, yes, beyond."""
    masked = list(letters)
    for i, letter in enumerate(letters):
        before, after = letters[i - 1 : i], letters[i + 1 : i + 2]
        is_before_vowel = bool(after) and _is_vowel(after)
        if letter == "u" and before in ("q", "g") and is_before_vowel:
            masked[i] = _PLACEHOLDER
        is_after_consonant = bool(before) and not _is_vowel(before)
        if letter == "y" and language not in _Y_IS_VOWEL and is_before_vowel and not is_after_consonant:
            masked[i] = _PLACEHOLDER
    return "".join(masked)


@cache
def _group_pattern(language: str) -> re.Pattern:
    vowels = "".join(chr(i) for i in (*range(0x61, 0x530), *range(0x1E00, 0x2000)) if _is_vowel(chr(i)))
    pattern = _GROUPS.get("no" if language in ("nb", "nn") else language, _UNKNOWN_GROUPS)
    return re.compile(pattern.replace("C", rf"[^\W\d_{vowels}]").replace("V", f"[{vowels}]"))


def _groups(letters: str, language: str) -> list[tuple[int, int]]:
    groups: list[tuple[int, int]] = []
    for match in _group_pattern(language).finditer(letters):
        begin, end = match.span()
        # A letter three times or more is one long vowel: nooo.
        is_drawn_out = letters[begin] * 3 in letters[max(begin - 2, 0) : begin + 2]
        if is_drawn_out and groups and groups[-1][1] == begin:
            groups[-1] = (groups[-1][0], end)
        else:
            groups.append((begin, end))
    return groups


def _is_silent(letters: str, span: tuple[int, int], breaks: list[int], language: str) -> bool:
    """Whether this is the e that ends a word, or a part of a compound of the dictionary: time, some-times."""
    begin, end = span
    part_begin = max((i for i in breaks if i <= begin), default=0)
    part_end = min((i for i in breaks if i > begin), default=len(letters))
    part = letters[part_begin:part_end]
    at = begin - part_begin
    if letters[begin:end] != "e" or at == 0 or _is_vowel(part[at - 1]):
        return False
    if language == "fr":
        return part_end == len(letters) and part[at:] in ("e", "es") and any(map(_is_vowel, letters[:begin]))
    silent = _ENGLISH_SILENT.search(part)
    if silent is None or silent.start() != at or _ENGLISH_SPOKEN.search(part):
        return False
    return any(_is_vowel(c) for c in part[:at])


def _boundary(letters: str, end: int, begin: int, breaks: list[int], language: str) -> int:
    """Where the syllable of a vowel that ends at `end` gives way to that of the vowel that begins at `begin`."""
    if found := [i for i in breaks if end <= i <= begin]:
        return found[-1]
    onsets = _ONSETS.split() + _MORE_ONSETS.get(language, "").split()
    for length in (3, 2):
        if begin - length >= end and letters[begin - length : begin] in onsets:
            return begin - length
    at = max(end, begin - 1)
    while at < begin and letters[at] in "ьъйx":  # these end a syllable
        at += 1
    return at


def _dictionary_breaks(letters: str, language: str) -> list[int]:
    """Where the dictionary of the language, if there is one, breaks the word."""
    if not language or not letters:
        return []
    dictionary = _dictionary(language)
    if dictionary is None:
        return []
    is_virama = [unicodedata.combining(c) == 9 for c in letters]  # joins consonants of Indic scripts
    return [int(i) for i in dictionary.positions(letters) if not is_virama[i - 1]]


@lru_cache(maxsize=8)
def _dictionary(language: str):
    try:
        import pyphen
    except ImportError as error:
        raise MajlError(
            "Dividing words into syllables needs pyphen, which is not installed; run: pip install 'majl_hf[notes]'"
        ) from error
    name = _DICTIONARIES.get(language) or pyphen.language_fallback(language)
    # Patterns are written for at least 2 letters at each end; syllables may be shorter.
    return pyphen.Pyphen(lang=name, left=1, right=1) if name else None
