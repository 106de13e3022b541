"""Words divided as they are sung."""

import builtins
import sys

import pytest

from majl_hf.errors import MajlError
from majl_hf.notes.syllables import guess_language, syllabify

pytest.importorskip("pyphen")

ENGLISH = """
    o-ver a-lone lit-tle some-thing some-times eve-ry-thing eve-ry love loved want-ed re-mem-ber re-mem-bered to-night
    for-ev-er nev-er ba-by mon-ey beau-ti-ful to-geth-er fire hour flow-er pow-er heav-en go-ing be-ing cry-ing play-ing
    see-ing did-n't could-n't can't don't you're I've it-'ll eyes times kiss-es ros-es dance walk-ing walked mid-night
    i-de-a re-al-ly ra-di-o pi-a-no na-tion spe-cial peo-ple lone-ly yes-ter-day be-yond a-way good-bye be-lieve
    qui-et cre-ate po-em guess queen crea-ture an-gel hal-le-lu-jah trou-bled ap-ples girls some-one home-less may-be
    ooh yeah whoa hun-dred hap-py cra-zy li-on mil-lion se-ri-ous you thought
"""
OTHERS = {
    "de": "ü-ber Lie-be a-ber Him-mel Au-gen neu-e im-mer wie-der Träu-me hei-ßen ge-hen See-le Fa-mi-lie The-a-ter",
    "fr": "a-mour tou-jours ja-mais j'aime l'a-mour vie é-toile po-é-sie ou-bli-er main-te-nant rêve ré-a-li-té",
    "es": "co-ra-zón a-mor dí-a can-ción quie-ro a-gua gue-rra ciu-dad po-e-ta ma-ña-na e-lla cie-lo pa-ís nooo",
    "it": "a-mo-re cuo-re can-zo-ne gior-no ciao so-gno sem-pre",
    "pt": "co-ra-ção meu vi-da",
    "pl": "mi-łość nie",
    "cs": "srd-ce",
    "fi": "rak-kaus",
    "ru": "лю-бовь мо-я",
    "el": "α-γά-πη",
}


def hyphenated(word, language):
    return "-".join(syllabify(word.replace("-", ""), language))


def test_english_words_have_the_syllables_that_are_sung():
    words = ENGLISH.split()
    divided = [hyphenated(word, "en") for word in words]
    assert [word.count("-") for word in divided] == [word.count("-") for word in words]
    assert sum(word == wanted for word, wanted in zip(divided, words, strict=True)) >= 0.97 * len(words)


@pytest.mark.parametrize("language", OTHERS)
def test_words_of_other_languages(language):
    words = OTHERS[language].split()
    assert [hyphenated(word, language) for word in words] == words


@pytest.mark.parametrize(
    "word, language, syllables",
    [
        ("(Didn’t,", "en", ("(Did", "n’t,")),
        ("“Hello!”", "en", ("“Hel", "lo!”")),
        ("'Cause", "en", ("'Cause",)),
        ("ALONE...", "en", ("A", "LONE...")),
        ("well-known", "en", ("well-", "known")),
        ("1999", "en", ("1999",)),
        ("...", "en", ("...",)),
        ("hmm", "en", ("hmm",)),
        ("我愛你。", "zh", ("我", "愛", "你。")),
        ("「しゃぼんだま」", "ja", ("「しゃ", "ぼ", "ん", "だ", "ま」")),
        ("ラーメン", "ja", ("ラー", "メ", "ン")),
        ("사랑해", "ko", ("사", "랑", "해")),
        ("I'm愛", "en", ("I'm", "愛")),
        ("Liebe", "", ("Lie", "be")),
        ("أحبك", "ar", ("أحبك",)),
        ("", "en", ()),
    ],
)
def test_scripts_and_punctuation(word, language, syllables):
    assert syllabify(word, language) == syllables


@pytest.mark.parametrize("language", ["", "en", "de", "fr", "es", "xx"])
@pytest.mark.parametrize(
    "word", ["Strengths", "aeiouy", "yyyy", "e", "İstanbul", "naïve", "Øe'", "q", "rock'n'roll", "ß"]
)
def test_nothing_is_lost(word, language):
    assert "".join(syllabify(word, language)) == word


@pytest.mark.parametrize(
    "text, language",
    [
        ("I want you to know that the night is young and you are mine", "en"),
        ("Ich weiß nicht, was das ist, und du bist nicht mehr bei mir", "de"),
        ("Je ne sais pas qui tu es et les nuits sont pour toi", "fr"),
        ("Yo te quiero y no sé por qué, pero el amor es así", "es"),
        ("la la la", ""),
        ("我愛你", ""),
    ],
)
def test_the_language_of_common_words(text, language):
    assert guess_language(text.split()) == language


def test_without_pyphen_only_words_that_need_it_fail(monkeypatch):
    from majl_hf.notes.syllables import _dictionary

    real_import = builtins.__import__

    def without_pyphen(name, *arguments, **options):
        if name == "pyphen":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "pyphen", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_pyphen)
    _dictionary.cache_clear()
    assert syllabify("我愛", "zh") == ("我", "愛")
    assert syllabify("hello") == ("hel", "lo")
    with pytest.raises(MajlError, match=r"pip install 'majl_hf\[notes\]'"):
        syllabify("hello", "en")
