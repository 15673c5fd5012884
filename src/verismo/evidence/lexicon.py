"""What grounding knows of English: function words, irregular forms, near synonyms, opposites,
units.

Small tables of general words on purpose. Whatever is not in them is compared as it is written, so a
paraphrase in words that nobody listed is missed rather than believed.
"""

from fractions import Fraction
from typing import Final


def word_set(words: str) -> frozenset[str]:
    """Return the words of a text that lists them."""
    return frozenset(words.split())


def _counted(words: str, first: int = 0, step: int = 1) -> dict[str, int]:
    """Return the words of a text with numbers in their order."""
    return {word: first + step * index for index, word in enumerate(words.split())}


FUNCTION_WORDS: Final = word_set("""
    a about above across after again against all along already also although always am among an and
    another any anybody anyone anything are around as at away back be because been before being
    below beside besides between both but by can could did do does doing done down during each
    either else even ever every everybody everyone everything few for from further had has have
    having he her here hers him his how however i if in instead into is it its itself just least
    less like many may me might mine more most much must my neither never no nobody none nor not
    nothing nowhere of off often on once one only onto or other others ought our ours out over own
    per perhaps quite rather same shall she should since so some somebody someone something such
    than that the their theirs them themselves then there therefore these they this those though
    through thus to together too toward towards under unless until up upon us very via was way we
    well were what whatever when whenever where whereas wherever whether which whichever while who
    whoever whole whom whose why will with within without would yes yet you your yours
    """)
"""Words that say how a sentence is built, not what it is about."""

IRREGULAR: Final = {
    form: verb
    for verb, forms in {
        "become": "became becoming",
        "begin": "began begun beginning",
        "bind": "bound",
        "break": "broke broken",
        "bring": "brought",
        "build": "built",
        "catch": "caught",
        "deal": "dealt",
        "buy": "bought",
        "choose": "chose chosen",
        "come": "came coming",
        "draw": "drew drawn",
        "drive": "drove driven driving",
        "fall": "fell fallen",
        "find": "found",
        "forget": "forgot forgotten forgetting",
        "freeze": "froze frozen freezing",
        "get": "got gotten getting",
        "give": "gave given giving",
        "go": "went gone goes going",
        "grow": "grew grown",
        "hear": "heard",
        "hide": "hid hidden",
        "hold": "held",
        "keep": "kept",
        "know": "knew known",
        "lead": "led",
        "leave": "left leaving",
        "lie": "lay lain lying",
        "lose": "lost losing",
        "make": "made making",
        "mean": "meant",
        "meet": "met",
        "pay": "paid",
        "prove": "proven proof proofs",
        "read": "reads reading",
        "ride": "rode ridden riding",
        "rise": "rose risen rising",
        "run": "ran running",
        "say": "said",
        "seek": "sought",
        "see": "saw seen",
        "sell": "sold",
        "send": "sent",
        "show": "shown",
        "speak": "spoke spoken",
        "spend": "spent",
        "spread": "spreads spreading",
        "stand": "stood",
        "steal": "stole stolen",
        "take": "took taken taking",
        "tell": "told",
        "teach": "taught",
        "tear": "tore torn",
        "think": "thought",
        "throw": "threw thrown",
        "understand": "understood",
        "use": "used uses using",
        "wake": "woke woken waking",
        "wear": "wore worn",
        "win": "won winning",
        "write": "wrote written writing",
    }.items()
    for form in forms.split()
}
"""Irregular forms, by which verb they belong to."""

SYNONYMS: Final = tuple(
    frozenset(group.split())
    for group in (
        "administrator admin",
        "alter change modify",
        "answer reply response respond",
        "begin start commence",
        "byte octet",
        "call name",
        "carry hold contain include have",
        "check verify validate examine",
        "choose pick select",
        "complete whole entire full",
        "config configuration",
        "cut break truncate interrupt",
        "delete remove erase",
        "document file",
        "end finish close",
        "error failure",
        "exact precise",
        "fetch get obtain receive",
        "follow obey",
        "folder directory",
        "get receive",
        "give hand provide yield return",
        "go continue proceed",
        "hour hourly",
        "independent separate",
        "keep store save retain hold remain",
        "limit bound",
        "list enumerate",
        "make create produce generate",
        "need require demand",
        "new fresh recent",
        "proof evidence",
        "query question ask",
        "quick fast",
        "say state tell",
        "send transmit deliver",
        "set define",
        "show display demonstrate",
        "size length",
        "stay remain keep",
        "stop halt end",
        "text string",
        "turn become",
        "use employ utilise utilize",
        "wait pause",
        "write record",
        "wrong incorrect",
    )
)
"""Words that may stand for each other when it is asked whether two texts speak of the same."""

OPPOSITES: Final = tuple(
    (frozenset(positive.split()), frozenset(negative.split()))
    for positive, negative in (
        ("accept allow permit admit", "refuse reject deny forbid prohibit decline"),
        ("active", "inactive"),
        ("add", "remove"),
        ("agree", "disagree contradict"),
        ("ahead", "behind"),
        ("appear", "disappear"),
        ("ascending", "descending"),
        ("big large", "little small"),
        ("cheap", "expensive"),
        ("client", "server"),
        ("complete", "incomplete partial"),
        ("connect", "disconnect"),
        ("correct right", "incorrect wrong"),
        ("dependent", "independent"),
        ("direct", "indirect"),
        ("earlier", "later"),
        ("easy", "difficult"),
        ("empty", "filled full"),
        ("enable", "disable"),
        ("encrypt", "decrypt"),
        ("fast", "slow"),
        ("first", "last"),
        ("high", "low"),
        ("include including", "exclude excluding except"),
        ("increase", "decrease"),
        ("input", "output"),
        ("inside", "outside"),
        ("internal", "external"),
        ("keep", "drop delete discard"),
        ("look parse", "ignore skip"),
        ("larger", "smaller"),
        ("legal", "illegal"),
        ("local", "remote"),
        ("lock", "unlock"),
        ("long", "short"),
        ("longer", "shorter"),
        ("minimum", "maximum"),
        ("more", "less fewer"),
        ("mutable", "immutable"),
        ("newer", "older"),
        ("newest", "oldest"),
        ("online", "offline"),
        ("open", "closed"),
        ("pass succeed", "fail"),
        ("possible", "impossible"),
        ("present", "absent missing"),
        ("public", "private secret"),
        ("required mandatory", "optional"),
        ("same", "different"),
        ("start begin continue", "stop"),
        ("strong", "weak"),
        ("true", "false"),
        ("trust", "distrust"),
        ("upload", "download"),
        ("upper", "lower"),
        ("valid", "invalid"),
        ("visible", "invisible hidden"),
    )
)
"""Words that say the contrary of each other; what begins with `un` needs no entry."""

FORWARD_NEGATIONS: Final = word_set("not no never neither nor without cannot lacks lacking hardly")
"""They negate what follows them in their clause."""

CLAUSE_NEGATIONS: Final = word_set("nobody nothing nowhere none")
"""They negate their whole clause, wherever they stand in it."""

DISSUASIONS: Final = word_set("discourage avoid prevent")
"""What is said of an action with one of them is said against it: `do not` in other words."""

EXCEPTIONS: Final = word_set("except save but")
"""`all X except Y`: what follows is the contrary of what stands before."""

CLAUSE_WORDS: Final = word_set("""
    although because but hence however if since so soon that then though unless until what when
    whenever where whereas wherever whether which while who whom whose why
    """)
"""A clause ends before them."""

UNIVERSAL: Final = word_set("all always any each every everything everybody everyone only")
PARTIAL: Final = word_set("some sometimes several few many most usually often partly")
WHOLES: Final = word_set("all always each every everybody everything everywhere")

WHOLE_OF: Final = {
    "always": "never",
    "anybody": "nobody",
    "anyone": "nobody",
    "everybody": "nobody",
    "everyone": "nobody",
    "everything": "nothing",
    "everywhere": "nowhere",
}
"""Words for all of something, by the word for none of it."""

LARGER_BOUNDS: Final = (
    *("no less than", "no fewer than", "not less than", "not under", "at least", "minimum of"),
    *("more than", "longer than", "larger than", "later than", "older than", "over", "above"),
)
SMALLER_BOUNDS: Final = (
    *("no more than", "no longer than", "not more than", "not over", "at most", "maximum of"),
    *("less than", "fewer than", "shorter than", "smaller than", "below", "under", "up to"),
    "within",
)
LARGER_ENDS: Final = ("or more", "or newer", "or later", "or longer", "or larger", "and more")
SMALLER_ENDS: Final = ("or less", "or fewer", "or older", "or shorter", "or smaller")

DIGIT_WORDS: Final = _counted(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
    """
)
TENS_WORDS: Final = _counted("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
MULTIPLIERS: Final = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9}
REPETITIONS: Final = {"once": 1, "twice": 2, "thrice": 3}
ORDINALS: Final = _counted("third fourth fifth sixth seventh eighth ninth tenth", 3)
"""From the third on: first and second have too many other meanings."""

_DIMENSIONS: Final[dict[str, dict[str, Fraction | int]]] = {
    "time": {
        "us µs μs microsecond": 1,
        "ms millisecond": 1_000,
        "s sec second": 1_000_000,
        "min minute": 60_000_000,
        "h hr hour": 3_600_000_000,
        "d day": 86_400_000_000,
        "week": 604_800_000_000,
    },
    "months": {"month": 1, "quarter": 3, "year": 12},
    "data": {
        "b byte octet": 1,
        "kb": 10**3,
        "mb": 10**6,
        "gb": 10**9,
        "tb": 10**12,
        "kib": 2**10,
        "mib": 2**20,
        "gib": 2**30,
        "tib": 2**40,
    },
    "ratio": {"% percent": Fraction(1, 100), "millionth ppm": Fraction(1, 1_000_000)},
    "money": {"$ usd dollar": 1_000_000, "cent": 10_000, "micro": 1},
    "euro": {"€ eur euro": 1},
    "times": {"time": 1},
}
UNITS: Final[dict[str, tuple[str, Fraction]]] = {
    name: (dimension, Fraction(factor))
    for dimension, table in _DIMENSIONS.items()
    for names, factor in table.items()
    for name in names.split()
}
"""Units by singular name: dimension, and how many of the dimension's base unit one is."""

SYMBOLS: Final = word_set("us µs μs ms s sec min h hr d b kb mb gb tb kib mib gib tib usd eur")
"""Units that count as such only straight behind a number."""

BARE_NOUNS: Final = word_set("""
    access advice air art attention audio bandwidth behaviour blood bread business care cash
    children coal code colour content control cost crime culture damage data death debt demand dust
    earth elsewhere email evidence fear fire fish fog food freedom fruit fuel gas glass gold grass
    growth half heat help home hope ice income interest iron knowledge labour land law let life
    light load love luck mail man mankind markup meat memory men metal milk mind money music nature
    news next night noise oil oxygen paper part pay peace people plenty power pressure progress
    prose rain rest rice risk rock room salt sand sea silver sleep smoke snow soil sound space
    speech speed sport staff state status steam steel stone style sugar support syntax talk tea
    thunder time today tomorrow trade traffic transport travel trust usage value video voice war
    water weather wind wine women wood wool work yesterday
    """)
"""Words that may open a sentence without an article, beside those that their ending tells."""

NO_NAMES: Final = word_set("a an i must not may should shall no ok")
"""Words that are written in capitals for emphasis or by grammar, and name nothing."""
