r"""Penn-Treebank tokens as the COCO caption evaluation makes them, without Java (METHOD 3).

The evaluation runs Stanford's tokeniser (CoreNLP 3.4.1, lower-casing) and then removes a list of
punctuation tokens. The rules here were written from that program's observable behaviour, odd cases
included. At each position every rule is tried: the longest match wins (context that a rule only
looks at counts as matched), and of equally long matches the first.
"""

import re
from functools import lru_cache


@lru_cache(maxsize=65536)
def tokenise(text: str) -> str:
    """Return the tokens of one caption, lower-cased and joined by single spaces.

    Line breaks count as spaces. A token may hold a no-break space: "3 1/2" is one token.
    """
    return " ".join(token for token in _scan(_decode_entities(text)) if token not in _REMOVED)


# What the evaluation removes. The brackets' names are on its list too, but in capitals, so they
# never match a lower-cased token; runs such as "!!" are not on it.
_REMOVED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])


def _scan(text: str) -> list[str]:
    text += "\n"  # the end of the line counts where a rule looks ahead
    tokens: list[str] = []
    position = _after_gap(text, 0)
    while position < len(text):
        match = _plain_word(text, position) or _longest_match(text, position)
        if match:
            tokens.extend(_normal_forms(match))
            position = match.end("token")
        else:  # a character that the tokeniser drops
            position += 1
        position = _after_gap(text, position)
    return tokens


def _after_gap(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    return match.end() if match else position


def _plain_word(text: str, position: int) -> re.Match | None:
    """The quick way for most of a caption: a word on which all rules agree."""
    match = _PLAIN_WORD.match(text, position)
    if match and text.startswith(".", match.end()):
        word = match["token"].lower()
        return None if len(word) == 1 or word in _WITH_FULL_STOP else match
    return match


def _longest_match(text: str, position: int) -> re.Match | None:
    best = None
    for rule in _LETTER_RULES if text[position].isalpha() else _OTHER_RULES:
        match = rule.match(text, position)
        if match and (best is None or match.end() > best.end()):
            best = match
    return best


def _normal_forms(match: re.Match) -> tuple[str, ...]:
    """The tokens of one match, in the tokeniser's spelling."""
    token = match["token"].lower()
    if token in _SPLIT_WORDS and match.end() == match.end("token"):
        return _SPLIT_WORDS[token]
    if token in _RENAMED:
        return (_RENAMED[token],)
    if _DASHES_OR_DOTS.fullmatch(token):
        return ()
    if _QUOTES_OR_CLITIC.fullmatch(token):
        return (token.translate(_STRAIGHT_QUOTES),)
    if _TAG.match(token):
        return (token.replace(" ", "\xa0"),)
    return (token.translate(_RENAMED_INSIDE),)


_SPLIT_WORDS = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}

_ENTITIES = {
    "&apos;": "'",
    "&quot;": '"',
    "&nbsp;": " ",
    "&mdash;": "—",
    "&ndash;": "–",
    "&amp;": "&",
}


def _decode_entities(text: str) -> str:
    if "&" not in text:
        return text
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text


_RENAMED = {
    '"': "''",  # whether it opens or closes does not matter: both forms are removed
    **dict.fromkeys(["–", "—", "―", "\x96", "\x97"], "--"),
    **dict.fromkeys(["€", "¤", "₠", "\x80"], "$"),
    "£": "#",
    "¢": "cents",
    "¼": "1/4",
    "½": "1/2",
    "¾": "3/4",
    "⅓": "1/3",
    "⅔": "2/3",
    "…": "...",
    "\xad": "-",
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "&lt;": "<",
    "&gt;": ">",
}
# Inside a smiley or a telephone number, round brackets are renamed too; in a tag none are.
_RENAMED_INSIDE = str.maketrans({"(": "-lrb-", ")": "-rrb-", " ": "\xa0", "\xad": ""})
_TAG = re.compile(r"<[a-z!?/]")
_DASHES_OR_DOTS = re.compile(r"-{2,4}|[. \xa0]+")  # their spellings are among the removed tokens
_QUOTES = {
    **dict.fromkeys("‘‛‹\x91", "`"),
    **dict.fromkeys("’›\x92", "'"),
    **dict.fromkeys("“«\x93", "``"),
    **dict.fromkeys("”»\x94", "''"),
}
_QUOTE = f"[`{''.join(_QUOTES)}]"
_STRAIGHT_QUOTES = str.maketrans(_QUOTES)

# --- What words are made of -----------------------------------------------------------------------

_LETTER = (
    "A-Za-zªµº\xadÀ-ÖØ-öø-ͽ\u0384-Ά\u0388-ҁ\u0483-\u0487\u048a-\u0556\u0559-\u055f"
    "\u0561-\u0587\u0591-\u05bd\u05d0-\u05f2\u0615-\u061a\u0620-\u065e\u066e-\u06d3\u06d5-\u06ff"
    "\u0710-\u07f5\u0800-\u0815\u0900-\u0963\u0966-\u0d7f\u0d80-\u0e3a\u0e40-\u0e4e\u0e50-\u135a"
    "\u1380-\u1fbc\u1fbe\u1fc2-\u1fcc\u1fd0-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ffc\u2071\u207f"
    "\u2090-\u209c\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183-\u2184\u2c00-\u2dde"
    "\u3005-\u3006\u3031-\u3035\u303b\u3041-\u3096\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\ud7ff\uf900-\ufdff\ufe70-\ufefc\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
    "\uff66-\uffdc"
)
_APOSTROPHE = "['’\x92]"
_APOSTROPHE_OR_TICK = "['’\x92`‘‛\x91]"
_ALNUM = f"[{_LETTER}0-9]"
_WORD = f"[{_LETTER}]{_ALNUM}*(?:[.!?][{_LETTER}]{_ALNUM}*)*"
_ELISION = f"(?:[dDoOlL]{_APOSTROPHE_OR_TICK}(?={_ALNUM}{{2}}))?"
_HYPHENATED = f"{_ELISION}{_ALNUM}+(?:[-_\u058a‐‑]{_ELISION}{_ALNUM}+)*"
_INITIALS = r"[A-Za-z](?:\.[A-Za-z])+\."
_JOINED = rf"[A-Za-z0-9][A-Za-z0-9.,\xad]*(?:-(?:{_INITIALS}|[A-Za-z0-9\xad]+))+"
_CLITIC_ENDINGS = "[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL]"
_QUOTES_OR_CLITIC = re.compile(f"{_QUOTE}+|{_APOSTROPHE}(?:m|s|d|re|ve|ll)|n{_APOSTROPHE_OR_TICK}t")


def _words(text: str) -> list[str]:
    return text.split()


def _any_of(words: list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _rule(token: str, context: str = "") -> re.Pattern:
    """A rule that makes a token of `token` where `context` follows."""
    return re.compile(f"(?P<token>{token}){context}")


# An initial loses its full stop before one of these, which are taken to begin a sentence; the same
# in capitals throughout.
_SENTENCE_STARTERS = _words(
    """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many
    More Now Once One Other Our She Since So Some Such That The Their Then There These They This We
    What When While Yet You
    """
)

_STARTER = f"(?:{_any_of(_SENTENCE_STARTERS + [word.upper() for word in _SENTENCE_STARTERS])})"

# They keep their full stop: titles and the like, after which a sentence goes on ...
_TITLES = _words(
    """
    adj adm adv alex assoc asst atty attys ave brig capt cf cie cmdr col comdr cpl dept det dr
    drs elec ens ft gen gov govs hon insp invt jos lieut lt maj messrs mfg mlle mme mr mrs ms
    msgr mt mtg natl pfc ph pres prof profs pvt rep reps rev sen sens sfc sgt spc st ste supt
    treas vs wm
    """
)
# ... and those that may end one.
_ABBREVIATIONS = _words(
    """
    al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec
    ed.d esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich
    minn mo mon mont neb nev nov oct okla penn ph.d plc ppte ppty pte ptes pty ptys rd rt sep
    sept seq sq sr sys tel tenn thu thurs tue tues univ va vt wed wis wisc wyo
    """
)
# The same, but these are words when written small.
_CAPITAL_ABBREVIATIONS = _words("ark az del ill la mass miss ore pa tex wash")
# These keep it before a number.
_NUMBER_ABBREVIATIONS = _words("art ca fig figs no nos op pp prop")

_FILE_ENDINGS = _words(
    """
    bat bmp c cgi class cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
    png ppt ps py sql tar txt wav x xml zip
    """
)
_WORDS_WITH_APOSTROPHE = "|".join(
    word.replace("'", _APOSTROPHE)
    for word in _words(r"cap'n c'est c'mon cont'd\. e'er ev'ry li'l nat'l nor'easter o'o s'mores")
)


# White space, commas that stand after a word, and a full stop at the end.
_GAP = re.compile(r"(?:\s|,(?=\s|$))*(?:\.?\s*$)?")
_PLAIN_WORD = _rule("[A-Za-z]+", "(?=[,.]?(?: |$))")
_WITH_FULL_STOP = frozenset(
    _TITLES + _ABBREVIATIONS + _CAPITAL_ABBREVIATIONS + _NUMBER_ABBREVIATIONS
)

# --- The rules, by the character a token begins with ----------------------------------------------

_PLACE = r"""[^\s"`'|(){}$!,-_]"""  # the range from comma to underscore holds digits and capitals
_PATH = r"""(?:/[^\s"<>|()]+[^\s"<>|.!?(){},-])?"""
_EMAIL = r"""[A-Za-z0-9][^\s"<>|(){}]*@(?:[^\s"<>|(){}.]+\.)*[^\s"<>|(){}.]+"""

_SHARED_RULES = [
    # Addresses and file names.
    _rule(r"""(?i:https?)://[^\s"<>|(){}]+[^\s"<>|.!?(){},-]"""),
    _rule(rf"(?:{_PLACE}+\.)+(?i:com|net|org|edu){_PATH}"),
    _rule(f"<?{_EMAIL}>?"),
    _rule(rf"{_ALNUM}+(?:\.{_ALNUM}+)*\.(?i:{_any_of(_FILE_ENDINGS)})", r"[\s.,?!]"),
    # Words with hyphens and slashes, and the faces ^_^ and x_x.
    _rule(_HYPHENATED),
    _rule(_JOINED),
    _rule(r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}"),
    _rule(r"[-^x=~<>']_[-^x=~<>']"),
    # A full stop before a comma or colon belongs to an abbreviation.
    _rule(rf"(?:{_WORD}|{_HYPHENATED}|{_JOINED})\.", "[,;:]"),
]

# The tokeniser looks two characters past an abbreviation that may end a sentence, so that "etc.a "
# is two tokens and "etc.and" is one.
_TWO_MORE = r"[\s\S]{0,2}"

_LETTER_RULES = [
    # do|n't, dog|'s, wow!great
    _rule(r"[A-Za-z]*[A-MO-Za-mo-z]", f"[nN]{_APOSTROPHE_OR_TICK}[tT]"),
    _rule(f"[nN]{_APOSTROPHE_OR_TICK}[tT]"),
    _rule(_WORD, f"{_APOSTROPHE}(?:{_CLITIC_ENDINGS})"),
    _rule(_WORD),
    # D'Angelo, hawai'i, ol', y'|all
    _rule(f"[A-HJ-XZn]{_APOSTROPHE_OR_TICK}[{_LETTER}]{{2,}}"),
    _rule(f"[{_LETTER}]+[aeiouyAEIOUY]{_APOSTROPHE_OR_TICK}[aeiouA-Z][{_LETTER}]*"),
    _rule(f"(?i:[djl]|ol|somethin|dunkin){_APOSTROPHE}"),
    _rule(f"(?i:{_WORDS_WITH_APOSTROPHE})"),
    _rule(f"[yY]{_APOSTROPHE}", f"[{_LETTER}]"),
    # AT&T, US$, C++
    _rule(r"[A-Z]+(?:[+&][A-Z]+)+"),
    _rule(r"[A-Z]*\$"),
    _rule(r"[cC]\+\+|[cCfF]#"),
    # U.S., J., St., etc., No. 5
    _rule(_INITIALS),
    _rule(r"[A-Za-z]", rf"\.\s+(?={_STARTER}\s)"),
    _rule(r"[A-Za-z]\."),
    _rule(rf"(?i:{_any_of(_TITLES)})\."),
    _rule(rf"(?i:{_any_of(_ABBREVIATIONS)})\.", _TWO_MORE),
    _rule(rf"(?=[A-Z])(?i:{_any_of(_CAPITAL_ABBREVIATIONS)})\.", _TWO_MORE),
    _rule(rf"(?i:{_any_of(_NUMBER_ABBREVIATIONS)})\.", r"\s?[0-9]"),
    # www.x.org/y
    _rule(rf"""[wW]{{3}}\.(?:[^\s"`<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}{_PATH}"""),
    *_SHARED_RULES,
]

_NUMBER = r"[-+]?(?:[0-9]*(?:[.,:][0-9]+)+|[0-9]+)"
_GROUP_GAP = "[- \xa0]"

_OTHER_RULES = [
    *_SHARED_RULES,
    # Numbers: plain, dates, fractions, telephone numbers.
    _rule(_NUMBER),
    _rule(r"[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}"),
    _rule(rf"(?:[0-9]{{1,4}}{_GROUP_GAP})?[0-9]{{1,4}}(?:\\?/|⁄)[0-9]{{1,4}}"),
    _rule(
        rf"(?:\([0-9]{{2,3}}\)[ \xa0]?|\+{{0,2}}(?:[0-9]{{2,4}}{_GROUP_GAP})?[0-9]{{2,4}}"
        rf"{_GROUP_GAP})[0-9]{{3,4}}{_GROUP_GAP}?[0-9]{{3,5}}"
    ),
    _rule(r"\+{0,2}(?:[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"),
    # Words that begin with an apostrophe, before the rule for an opening quotation mark.
    _rule(rf"{_APOSTROPHE}(?:{_CLITIC_ENDINGS})", r"(?:[^A-Za-z]|$)"),
    _rule("'[tT]", "(?:[iI][sS]|[wW][aA][sS])"),
    _rule(rf"{_APOSTROPHE}(?:[nN]{_APOSTROPHE}?|[eE][mM]|(?i:till?|cause)|[2-9]0[sS])"),
    _rule(rf"{_APOSTROPHE}[0-9]{{2}}", r"(?:\s|$)"),
    _rule("['`]", r"[A-Za-z]\S"),
    _rule(f"{_APOSTROPHE}(?:{_CLITIC_ENDINGS})"),
    _rule(f"''|{_QUOTE}{{2}}"),
    # Tags, what is left of entities, names and topics, runs of one mark, smileys.
    _rule(r"<[!?][A-Za-z-][^>]*>"),
    _rule(
        r"</?[A-Za-z][A-Za-z0-9_:.-]*"
        r"""(?: +[A-Za-z][A-Za-z0-9_:.-]*(?: *= *(?:'[^']*'|"[^"]*"))?)* */?>"""
    ),
    _rule("&#[0-9]+;|(?i:&lt;|&gt;)"),
    _rule("@[A-Za-z_][A-Za-z_0-9]*|@+|_+|#+|[?!]+|<<|>>"),
    _rule(f"#[{_LETTER}]+"),
    _rule(r"\*+|(?:\\\*){1,3}"),
    _rule(r"--+|\.{3,5}|(?:\.[ \xa0]){2,4}\."),
    _rule(r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", r"(?![A-Za-z0-9])"),
    _rule(r"\((?:[-^x=~<>'][_.]?[-^x=~<>']|[\^x=~<>']-[\^x=~<>'])\)"),
    # Any other single character that the tokeniser keeps.
    _rule(
        r"[!-/:-@\[-`{-~\x80\x91-\x94\x96\x97¡-©«-´¶-¹»-¿×÷\u037e\u0387\u0589\u05be\u05c0\u05c3"
        r"\u060c\u061b\u061f\u066a\u06d4\u0964\u0965\u0e3f\u1fbd\u2013-\u2023\u2026\u2030-\u203b"
        r"\u203e-\u2042\u2044\u2070\u2074-\u208e\u20a0\u20a4\u20ac\u2100-\u214f\u2153-\u215e"
        r"\u2190-\u2bff\u3001-\u3002\u3012\u30fb\uff01-\uff65\uffe0-\uffe1"
        r"\uffe5-\uffe6]"
    ),
]
