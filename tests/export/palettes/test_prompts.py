"""What people write asks for the right classes of the built-in palettes, by the core's finder."""

from __future__ import annotations

import functools
import json

import pytest
from fgdm.export.palettes import read_palette

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

COCO_STUFF = {
    "A man riding a bike next to a parked car on a city street": "person bicycle car road",
    "two sofas and a TV in a living room with a wooden floor and a window": (
        "couch tv floor-wood window-other"
    ),
    "A plane flying in a blue sky above the clouds": "airplane sky-other clouds",
    "a kitten and two puppies on a bed with pillows": "cat dog bed pillow",
    "Children playing soccer on a grassy field with a ball": "person grass sports+ball",
    "a glass of orange juice, a sandwich and fries on a dining table": (
        "cup sandwich food-other dining+table"
    ),
    "people with surfboards on the beach near the ocean waves": "person surfboard sand sea",
    "a baby elephant drinking water from a stream": "elephant water-other river",
    "a woman with an umbrella on the sidewalk in the snow": "person umbrella pavement snow",
    "a bathroom with a sink, a mirror and a shower curtain": "sink mirror-stuff curtain",
    "a traffic light and a stop sign at an intersection with buses": (
        "traffic+light stop+sign road bus"
    ),
    "an old stone bridge over a river with trees and mountains": "bridge river tree mountain",
    "a passenger train leaving the train station": "train building-other",
    "a laptop, a computer mouse and a cup of coffee on a desk": "laptop mouse cup desk-stuff",
    "skyscrapers behind a brick wall and a chain link fence": "skyscraper wall-brick fence",
    "a bottle of water on a picnic table in the woods": "bottle table tree",
    "a hot dog, a teddy bear and a wine glass": "hot+dog teddy+bear wine+glass",
    "a flower pot beside the front door of a cottage": "potted+plant door-stuff house",
}
ADE20K = {
    "A man riding a motorcycle past parked cars on the highway": "person minibike car road",
    "two couches, a television and a coffee table on a wooden floor": (
        "sofa television+receiver coffee+table floor"
    ),
    "a bedroom with a bed, a dresser, a table lamp, curtains and a window": (
        "bed chest+of+drawers lamp curtain windowpane"
    ),
    "a kitchen with cupboards, a stove, a range hood, a fridge and bar stools": (
        "cabinet stove hood refrigerator stool"
    ),
    "a castle on a cliff by the sea under a blue sky": "building rock sea sky",
    "cows and sheep in a meadow with hills": "animal field hill",
    "palm trees around a swimming pool": "palm swimming+pool",
    "a church between pine trees on a mountain": "building tree mountain",
    "an office with a swivel chair, a laptop, bookshelves and a trash can": (
        "swivel+chair computer bookcase ashcan"
    ),
    "a cruise ship and sailboats beside the pier": "ship boat pier",
    "people walking on the sidewalk past street lamps and a bus": "person sidewalk streetlight bus",
    "a bathroom with a bathtub, a toilet, towels and a mirror": "bathtub toilet towel mirror",
    "a statue and a fountain in front of the stairs": "sculpture fountain stairs",
}
CITYSCAPES = {
    "cyclists and pedestrians on a street between houses": "rider person road building",
    "a tram, two vans and a bus under a cloudy sky": "train car bus sky",
    "trees beside a sidewalk with street signs and street lights": (
        "vegetation sidewalk traffic+sign pole"
    ),
    "a motorway tunnel with trucks and a guardrail": "road tunnel truck guard+rail",
}
CELEBAMASK = {
    "a smiling woman with long blonde hair, earrings and a necklace": "skin hair earring necklace",
    "an old man with glasses and bushy eyebrows in a suit": (
        "skin eye_glasses left_brow right_brow cloth"
    ),
    "a girl in a hat with red lips and blue eyes": (
        "skin hat upper_lip lower_lip left_eye right_eye"
    ),
}
CASES = [
    (palette, prompt, classes)
    for palette, prompts in (
        ("coco-stuff", COCO_STUFF),
        ("ade20k", ADE20K),
        ("cityscapes", CITYSCAPES),
        ("celebamask", CELEBAMASK),
    )
    for prompt, classes in prompts.items()
]


@functools.cache
def palette_json(name: str) -> str:
    return json.dumps(read_palette(name))


def requested(palette: str, prompt: str) -> list[str]:
    names: list[str] = core.find_objects(palette_json(palette), prompt)[0]
    return names


@pytest.mark.parametrize(("palette", "prompt", "classes"), CASES)
def test_a_prompt_asks_for_its_classes_and_no_others(
    palette: str, prompt: str, classes: str
) -> None:
    assert requested(palette, prompt) == [name.replace("+", " ") for name in classes.split()]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("man", "person"),
        ("women", "person"),
        ("sofa", "couch"),
        ("bikes", "bicycle"),
        ("plane", "airplane"),
        ("TV", "tv"),
        ("cellphone", "cell phone"),
        ("doughnuts", "donut"),
        ("geese", "bird"),
        ("sky", "sky-other"),
        ("wall", "wall-other"),
        ("door", "door-stuff"),
        ("blinds", "window-blind"),
    ],
)
def test_everyday_words_of_coco_stuff(word: str, name: str) -> None:
    assert requested("coco-stuff", word) == [name]


@pytest.mark.parametrize("palette", ["coco-stuff", "ade20k", "cityscapes", "celebamask"])
def test_the_core_reads_forms_as_they_are_written(palette: str) -> None:
    """A class's name and its last form ask for that class alone."""
    for entry in json.loads(palette_json(palette))["classes"]:
        for form in (entry["forms"][0], entry["forms"][-1]):
            assert requested(palette, form) == [entry["name"]]


@pytest.mark.parametrize("word", ["hat", "shoes", "plate", "glasses"])
def test_what_coco_stuff_maps_never_hold_is_unrecognized(word: str) -> None:
    assert core.find_objects(palette_json("coco-stuff"), word) == ([], [word], [], 0)
