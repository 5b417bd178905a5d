"""Made-up places, streets, hospitals and doctors, and the words they are made of.

Places and surnames join a beginning to an ending, both made up for this purpose; none is in the lists of towns and
surnames that Faker has for any locale. Streets are of plants, birds and weather: they are in many towns, but not these.
"""

from __future__ import annotations

from itertools import product

WORDS = (
    "amber", "birch", "cedar", "cliff", "cloud", "coral", "delta", "ember", "fern", "field", "flint", "frost", "glade",
    "grove", "harbor", "hazel", "heath", "heron", "iris", "ivory", "jade", "juniper", "lake", "larch", "laurel", "lily",
    "linden", "lotus", "maple", "marsh", "meadow", "mint", "moss", "oak", "olive", "opal", "orchid", "pearl", "pine",
    "pond", "poppy", "prairie", "quartz", "rain", "raven", "reed", "ridge", "river", "robin", "rose", "ruby", "sage",
    "slate", "snow", "spruce", "stone", "summit", "tulip", "valley", "violet", "willow", "wind", "wren", "yarrow",
)  # fmt: skip
STREETS = ("Street", "Lane", "Road", "Avenue")

GERMAN_STREETS = tuple(
    plant + ending
    for plant, ending in product(
        ("Ahorn", "Amsel", "Birken", "Buchen", "Drossel", "Eichen", "Erlen", "Eschen", "Finken", "Flieder", "Ginster",
         "Hasel", "Holunder", "Kastanien", "Kiefern", "Lerchen", "Linden", "Meisen", "Pappel", "Rosen", "Schlehen",
         "Schwalben", "Tannen", "Tulpen", "Ulmen", "Veilchen", "Wacholder", "Weiden", "Wiesen", "Zeisig"),
        ("weg", "straße", "allee", "gasse"),
    )
)  # fmt: skip
FRENCH_STREETS = tuple(
    f"{way} des {plant}"
    for way, plant in product(
        ("rue", "allée", "chemin", "impasse"),
        ("Acacias", "Alouettes", "Bleuets", "Bouleaux", "Bruyères", "Cerisiers", "Charmes", "Châtaigniers", "Cyprès",
         "Fauvettes", "Fougères", "Genêts", "Glycines", "Hirondelles", "Iris", "Jonquilles", "Lavandes", "Lilas",
         "Marronniers", "Mésanges", "Mimosas", "Noisetiers", "Noyers", "Peupliers", "Pins", "Platanes", "Roseaux",
         "Saules", "Tilleuls", "Violettes"),
    )
)  # fmt: skip
SPANISH_STREETS = tuple(
    f"{way} {plant}"
    for way, plant in product(
        ("Calle", "Avenida", "Camino", "Paseo"),
        ("del Abedul", "del Álamo", "del Alerce", "del Almendro", "del Avellano", "del Azahar", "del Brezo",
         "del Castaño", "del Cedro", "del Cerezo", "del Ciprés", "del Enebro", "del Espliego", "del Fresno",
         "del Gorrión", "del Jazmín", "del Laurel", "del Mirlo", "del Naranjo", "del Nogal", "del Olmo",
         "del Petirrojo", "del Pinar", "del Romeral", "del Ruiseñor", "del Sauce", "del Tilo", "del Tomillo",
         "del Vencejo", "del Zorzal"),
    )
)  # fmt: skip
JAPANESE_STREETS = tuple(  # in Latin letters, like the towns below
    start + end
    for start, end in product(
        ("Hoshimi", "Kazamachi", "Kirino", "Tsukise", "Yukibana", "Yunagi", "Hanagasumi", "Midoritori"),
        ("dai", "hama", "hara", "sato", "oka", "sawa"),
    )
)
JAPANESE_TOWNS = tuple(
    f"{start}{end}-shi"
    for start, end in product(("Asunagi", "Yukitsura", "Hanabuki", "Kirimatsu"), ("ura", "zawa", "no"))
)
CHINESE_STREETS = tuple(
    start + end
    for start, end in product(
        ("Feng", "Gui", "Lan", "Ju", "He", "Mei", "Liu", "Tong"), ("ying", "xiang", "yu", "lu", "yun")
    )
)
CHINESE_TOWNS = tuple(
    start + end
    for start, end in product(
        ("Qisong", "Tingyue", "Muquan", "Lanzheng", "Chengmu", "Zhaoyu"), ("tan", "ling", "ze", "wan", "gu", "dai")
    )
)

_STARTS = (
    "Brask", "Corv", "Dorl", "Drev", "Elth", "Falm", "Ferl", "Gavr", "Gresk", "Hald", "Hesk", "Ilv", "Jarn", "Jusk",
    "Kelv", "Lorm", "Lusk", "Marv", "Molth", "Nesk", "Orl", "Ostr", "Prell", "Quorl", "Rusk", "Selv", "Skarl", "Tamb",
    "Thrav", "Tresk", "Ulver", "Vell", "Vorl", "Wexl", "Yarv", "Zorn",
)  # fmt: skip
_PLACE_ENDS = (
    "andale", "ermoor", "inholm", "aford", "enstead", "ihaven", "amere", "owick", "essel", "oreth", "avine", "undale",
    "elmar", "istow", "akeld", "ombury", "iscombe", "ilstrand", "edral", "oquay", "etarn", "ithwaite", "owold",
    "arridge", "iburn",
)  # fmt: skip
_SURNAME_ENDS = (
    "oquist", "endahl", "imarch", "owynd", "aveldt", "estrand", "ombier", "ulkin", "arove", "ethwain", "indrell",
    "ossard", "ebrand", "allory", "uscott", "imond", "aquill", "onesse", "etzky", "ariv", "obern", "iddock", "emont",
    "azelle", "ulander",
)  # fmt: skip
PLACES = tuple(start + end for start, end in product(_STARTS, _PLACE_ENDS))
SURNAMES = tuple(start + end for start, end in product(_STARTS, _SURNAME_ENDS))
FIRST_NAMES = (
    "Adele", "Agnes", "Albert", "Alma", "Arthur", "Bernard", "Bruno", "Cecil", "Celia", "Clara", "Cora", "Edgar",
    "Edith", "Elmer", "Elsa", "Ernest", "Esther", "Felix", "Flora", "Greta", "Harold", "Hugo", "Ida", "Irma", "Jonas",
    "Judith", "Leonard", "Lydia", "Magnus", "Martha", "Nora", "Oscar", "Otto", "Paula", "Ralph", "Selma", "Sylvia",
    "Theodor", "Vera", "Walter",
)  # fmt: skip
HOSPITALS = (
    "Hospital", "General Hospital", "Medical Center", "Community Hospital", "Memorial Hospital", "University Hospital",
    "Children's Hospital", "Clinic",
)  # fmt: skip

HAN_PLACES = tuple(
    start + end for start, end in product("栖听揽沐砚澄岚汐暮霁漪翊煦漱", "松月泉舟溪岭禾屿汀梧棠苇陂渚")
)
HAN_STREETS = tuple(
    start + end + way
    for start, end, way in product("枫桂兰菊荷竹梅柳杏桐", "影香语露荫韵声霜", ("路", "街", "巷", "大道"))
)
HAN_HOSPITALS = (
    "第一人民医院", "第二人民医院", "第三人民医院", "中心医院", "中医院", "儿童医院", "肿瘤医院", "妇幼保健院",
    "胸科医院", "大学附属医院", "眼科医院", "骨科医院", "急救中心", "康复医院", "影像诊断中心", "传染病医院",
)  # fmt: skip
HAN_SURNAMES = tuple(start + end for start, end in product("栖砚澄霁翊漱煦苇岚汐漪棠", "梧渚汀屿陂洄樾"))
"""Two characters each; the real surnames of two characters are few, and none of these is among them."""
HAN_GIVEN = tuple(start + end for start, end in product("知若书清言景怀令思予以修望", "秋白安行远宁舒和然川微遥岸"))

KANJI_PLACES = tuple(
    start + end
    for start, end in product(
        ("星見", "月瀬", "霧野", "雪花", "風待", "緑鳥", "夕凪", "花霞", "虹橋", "琴音", "蛍川", "朝露"),
        ("台", "浜", "原", "里", "丘", "沢", "谷", "坂", "浦", "峰"),
    )
)
KANJI_HOSPITALS = (
    "市民病院", "総合病院", "中央病院", "医療センター", "記念病院", "こども病院", "大学病院", "クリニック", "第一病院",
    "循環器病院", "整形外科", "画像診断センター",
)  # fmt: skip
KANJI_SURNAMES = tuple(
    start + end
    for start, end in product(("夕凪", "虹雫", "雪蛍", "霧琴", "星露", "霞音", "朝虹", "風鈴"), "瀬崎端澤堂里森嶋浦路")
)
