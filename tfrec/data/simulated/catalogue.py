"""The simulated shop's catalogue: items named by brand, style, product and use, for `shop` to sell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfrec.features import AVAILABLE_FROM, ITEM_ID, TITLE

# A department sells in four roles that follow on one another: gear, accessories, supplies, care, and gear again.
ROLES = ("gear", "accessories", "supplies", "care")
PRODUCTS = {
    "Camping": (
        ("Tent", "Sleeping Bag", "Hiking Backpack"),
        ("Camping Lantern", "Folding Camp Chair", "Trekking Poles"),
        ("Trail Meal Pack", "Camping Gas Cartridge", "Water Filter"),
        ("Tent Repair Kit", "Waterproofing Spray", "Dry Bag"),
    ),
    "Coffee": (
        ("Espresso Machine", "Coffee Grinder", "Pour-Over Kettle"),
        ("Milk Frother", "Coffee Scale", "Espresso Cup Set"),
        ("Coffee Beans", "Paper Coffee Filters", "Vanilla Coffee Syrup"),
        ("Descaling Tablets", "Grinder Brush", "Coffee Canister"),
    ),
    "Photography": (
        ("Mirrorless Camera", "Zoom Lens", "Instant Camera"),
        ("Camera Tripod", "Camera Strap", "Camera Flash"),
        ("Instant Film Pack", "Photo Paper", "Memory Card"),
        ("Lens Cleaning Kit", "Camera Bag", "Sensor Swab Set"),
    ),
    "Running": (
        ("Running Shoes", "Running Jacket", "Running Watch"),
        ("Running Belt", "Running Headlamp", "Phone Armband"),
        ("Energy Gel", "Electrolyte Tablets", "Protein Bars"),
        ("Foam Roller", "Shoe Cleaner", "Blister Care Kit"),
    ),
    "Gardening": (
        ("Lawn Mower", "Hedge Trimmer", "Raised Garden Bed"),
        ("Pruning Shears", "Watering Can", "Garden Gloves"),
        ("Flower Seeds", "Potting Soil", "Plant Fertiliser"),
        ("Garden Tool Sharpener", "Hose Reel", "Mower Cover"),
    ),
    "Music": (
        ("Acoustic Guitar", "Digital Piano", "Ukulele"),
        ("Guitar Strap", "Sheet Music Stand", "Clip-On Tuner"),
        ("Guitar Strings", "Guitar Picks", "Piano Songbook"),
        ("Guitar Case", "Fretboard Oil", "Piano Key Cleaner"),
    ),
    "Cycling": (
        ("Road Bike", "Mountain Bike", "Bike Trainer"),
        ("Bike Helmet", "Bike Light", "Bike Bottle Cage"),
        ("Bike Inner Tube", "Brake Pads", "Handlebar Tape"),
        ("Bike Chain Oil", "Bike Repair Stand", "Bike Wash"),
    ),
    "Painting": (
        ("Painting Easel", "Airbrush", "Drawing Tablet"),
        ("Paint Brush Set", "Palette Knife", "Wooden Palette"),
        ("Acrylic Paint", "Canvas Panels", "Watercolour Paper"),
        ("Brush Cleaner", "Picture Varnish", "Art Portfolio Case"),
    ),
}
BRANDS = (
    *("Northpeak", "Lumina", "Oakridge", "Velora", "Kestrel", "Bluefin"),
    *("Marlowe", "Tansei", "Solway", "Ironwood", "Pipkin", "Zephyr"),
)
# Two words a style: a model that reads knows them for one.
STYLES = (
    ("Rugged", "Heavy-Duty"),
    ("Minimalist", "Sleek"),
    ("Vintage", "Retro"),
    ("Compact", "Lightweight"),
    ("Luxury", "Premium"),
    ("Eco-Friendly", "Recycled"),
    ("High-Tech", "Smart"),
    ("Playful", "Colourful"),
)
USES = ("Beginners", "Families", "Professionals", "Travel", "Small Spaces", "Gifts")

DEPARTMENTS = tuple(PRODUCTS)
CATEGORIES = tuple(f"{department} {role}" for department in DEPARTMENTS for role in ROLES)
NOUNS = tuple(noun for roles in PRODUCTS.values() for nouns in roles for noun in nouns)
PER_CATEGORY = len(NOUNS) // len(CATEGORIES)
LIMIT = len(NOUNS) * len(BRANDS) * 2 * len(STYLES) * len(USES)  # different titles

# The blocks of an item's attribute vector, in order, and their widths.
BLOCKS = {
    "department": len(DEPARTMENTS),
    "category": len(CATEGORIES),
    "brand": len(BRANDS),
    "style": len(STYLES),
    "use": len(USES),
    "price": 1,
}
WIDTH = sum(BLOCKS.values())

_ROLE_PRICES = np.array([240.0, 45.0, 18.0, 25.0])
_LUXURY = 4  # its place in STYLES


@dataclass(frozen=True)
class Catalogue:
    """What the shop sells, as the process sees it; arrays over items [I].

    Attributes:
        titles: str [I], all different: "Northpeak Rugged Tent for Families".
        codes: int64 [I] for each of department, category, brand, style and use.
        prices: float64 [I].
        attributes: float32 [I, WIDTH]: one-hot blocks of the codes, then the standardised logarithm of the price.
        popularity: float32 [I]: b_j, the logarithm of a Zipf law over the items' ranks.
    """

    titles: np.ndarray
    codes: dict[str, np.ndarray]
    prices: np.ndarray
    attributes: np.ndarray
    popularity: np.ndarray

    def frame(self, item_ids: np.ndarray, available_from: np.ndarray) -> pd.DataFrame:
        """The item table: item_id, title, category, price, available_from (unix seconds)."""
        return pd.DataFrame(
            {
                ITEM_ID: item_ids,
                TITLE: self.titles,
                "category": np.array(CATEGORIES, dtype=object)[self.codes["category"]],
                "price": self.prices,
                AVAILABLE_FROM: available_from,
            }
        )


def catalogue(items: int, zipf: float, rng: np.random.Generator) -> Catalogue:
    """Draw items with different titles and a Zipf popularity that their words explain for the most part.

    Items are ranked by the sum of the strengths of their product, brand, style and use (deviation 1 each) and of a
    chance of their own (0.4), hence a model that reads titles can tell how popular a new item will be.
    b_j = -zipf * log(rank_j + 1).

    Args:
        items: how many, at most `LIMIT`.
        zipf: exponent of the popularity law.
        rng: where all chance comes from.
    """
    nouns, brands, styles, words, uses = _different_titles(items, rng)
    category = nouns // PER_CATEGORY
    codes = {"department": category // len(ROLES), "category": category, "brand": brands, "style": styles, "use": uses}
    titles = [
        f"{BRANDS[b]} {STYLES[s][w]} {NOUNS[n]} for {USES[u]}"
        for n, b, s, w, u in zip(nouns, brands, styles, words, uses, strict=True)
    ]
    log_prices = _log_prices(codes, rng)
    strength = 0.4 * rng.normal(size=items)
    for said, count in ((nouns, len(NOUNS)), (brands, len(BRANDS)), (styles, len(STYLES)), (uses, len(USES))):
        strength += rng.normal(size=count)[said]
    rank = np.argsort(np.argsort(-strength, kind="stable")) + 1
    return Catalogue(
        titles=np.array(titles, dtype=object),
        codes=codes,
        prices=np.round(np.exp(log_prices), 2),
        attributes=_attributes(codes, log_prices),
        popularity=(-zipf * np.log(rank + 1.0)).astype(np.float32),
    )


def _different_titles(items: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Codes [I] of noun, brand, style, style word and use; nouns in turn, no title twice."""
    widths = (len(BRANDS), len(STYLES), 2, len(USES))
    rounds = -(-items // len(NOUNS))
    variants = np.stack([rng.permutation(int(np.prod(widths)))[:rounds] for _ in NOUNS])  # [nouns, rounds]
    nouns, turn = np.divmod(rng.permutation(rounds * len(NOUNS))[:items], rounds)
    return nouns, *np.unravel_index(variants[nouns, turn], widths)


def _log_prices(codes: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Logarithm of the price [I]: by role, brand and style (luxury costs more), and a little chance."""
    brand = rng.normal(0, 0.3, len(BRANDS))
    style = rng.normal(0, 0.15, len(STYLES))
    style[_LUXURY] = 0.7
    role = np.log(_ROLE_PRICES)[codes["category"] % len(ROLES)]
    return role + brand[codes["brand"]] + style[codes["style"]] + rng.normal(0, 0.2, len(role))


def _attributes(codes: dict[str, np.ndarray], log_prices: np.ndarray) -> np.ndarray:
    """Attribute vectors [I, WIDTH]; the price is taken within its role, where "dear" has a meaning."""
    blocks = [np.eye(BLOCKS[name])[code] for name, code in codes.items()]
    relative = log_prices - np.log(_ROLE_PRICES)[codes["category"] % len(ROLES)]
    blocks.append(((relative - relative.mean()) / (relative.std() + 1e-9))[:, None])
    return np.concatenate(blocks, axis=1).astype(np.float32)
