"""Words by which a text denies what it names. English and Chinese; data only, over lower-case text."""

from __future__ import annotations

import re
from typing import NamedTuple


class Cues(NamedTuple):
    """Cues of one language.

    Attributes:
        clause: everything up to the beginning of the last clause.
        harmless: looks like a denial and is none.
        before: denies what follows in the same clause, within ``near`` units (words; Chinese signs).
        behind: denies what stands right before it.
        right_before: denies a yes or no that follows at once.
        taken_back: calls an answer wrong or past, wherever it stands.
        not_so: likewise, but goes well with a no.
        denial: cannot stand beside a yes.
    """

    clause: re.Pattern[str]
    harmless: re.Pattern[str]
    before: re.Pattern[str]
    near: int
    behind: re.Pattern[str]
    right_before: re.Pattern[str]
    taken_back: re.Pattern[str]
    not_so: re.Pattern[str]
    denial: re.Pattern[str]


_COPULA = (
    "is|was|are|were|be|been|being|has|have|had|can|could|may|might|must|should|would|does|do|did|will|seems?|appears?|"
    "remains?"
)
_SAYING = r"\b(?:that|this|it|which|the answer)(?: is| was|['’]s)"

EN = Cues(
    clause=re.compile(r".*(?:[.;:!?()\[\]]\s|[()\[\]]|\b(?:but|however|although|though|yet)\b)"),
    harmless=re.compile(r"\b(?:not only|no doubt|without (?:a )?doubt|without question|no question)\b"),
    before=re.compile(
        r"\b(?:no|not|cannot|never|without|neither|nor|none|nothing|hardly|scarcely|denie[sd]|deny|absent|absence of|"
        r"lack(?:s|ing|ed)?(?: of)?|free (?:of|from)|negative for|rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)|"
        r"rather than|instead of|other than|far from|unlikely|fail(?:s|ed)? to|less likely|incorrect(?:ly)?|"
        r"wrong(?:ly)?|false(?:ly)?|except|anything but|doubt(?:ful)?|disagree|mistak(?:e|en|enly)|myth|"
        r"refut(?:e|es|ed)|non)\b[- ]?|n['’]t\b"
    ),
    near=7,
    behind=re.compile(
        r"^\s*\?|^-(?:free|negative)\b|^[\s,:-]*(?:"
        rf"(?:(?:which|that|it|this|answer|finding)\s+){{0,2}}(?:{_COPULA})\s+(?:[a-z]+\s+){{0,3}}"
        r"(?:not|never|no longer)\b|"
        rf"(?:[a-z]+\s+){{0,2}}(?:{_COPULA})n['’]t\b|"
        rf"(?:(?:{_COPULA}|as|to|the|here|there|likely|probably|clearly|simply|actually|a|an)\s+){{0,5}}"
        r"(?:absent|excluded|ruled out|unlikely|denied|false|wrong|incorrect|negative|missing|lacking|untrue|mistaken|"
        r"cannot|can['’]t|never|none|not (?:[a-z]+ )?(?:seen|present|visible|identified|found|there|detected|confirmed|"
        r"evident|shown|noted|likely|true|right|correct|so|at all))\b)"
    ),
    right_before=re.compile(r"(?:\b(?:not|never|than|instead of|true that the answer is)|n['’]t)[\s:]*$"),
    taken_back=re.compile(
        rf"{_SAYING} (?:actually |simply |clearly )?(?:wrong|false|incorrect|untrue|mistaken|a mistake)\b|"
        r"\bon the contrary\b|\bthe opposite\b|\b(?:first|once|initially) thought\b|\bused to\b|\bturned out\b|"
        r"\b(?:has|have|had) (?:since )?(?:vanished|disappeared|gone)\b|\bresolved\b|\bno longer\b"
    ),
    not_so=re.compile(rf"{_SAYING} not (?:true|right|correct|so|the case)\b"),
    denial=re.compile(r"\b(?:no|not|never|none|without|cannot|absent|neither)\b|n['’]t\b"),
)

ZH = Cues(
    clause=re.compile(r".*[。；：！？（）()【】，,;:!?]"),
    harmless=re.compile(r"无疑|无误|非常|不过|不仅|不但|不错|不论|不管|未来|不妨|无论|不用|不着"),
    before=re.compile(r"不|没|无|未|非|排除|否认|缺乏|缺少|除外|否定|误诊|误认|勿|难以|曾"),
    near=10,
    behind=re.compile(
        r"^\s*(?:\?|[:：]\s*(?:无|没有|未见|阴性|否)|"
        r"(?:已经|已|可以|可|应该|应|被|是|的|诊断|表现|征象|答案|说法|为|基本|并|也|则|这个){0,5}"
        r"(?:不存在|不成立|不对|不是|不符|不准确|未见|没有|阴性|排除|除外|否定|错误|错的|有误|消失|消退))"
    ),
    right_before=re.compile(r"(?:不是|而非|并非|不)[\s:]*$"),
    taken_back=re.compile(
        r"(?:这|那|此|以上|上述|答案|说法)\S{0,4}(?:不对|错误|错的|有误|不正确|不属实|不成立)|恰恰相反|正相反|原以为|起初认为"
    ),
    not_so=re.compile(r"(?!)"),
    denial=re.compile(r"不是|没有|未见|不存在|并非|不包含|否认|看不到|不可见"),
)

CUES = {"en": EN, "zh": ZH}
"""Language → its cues."""
