// What is asked for: {required, words}. `required` is as requests say it: {objects: ["sun", {class,
// count, at_least, at_most, color}], relations: [{subject, relation, object}], absent: [],
// attributes: ["young"]}; an end of a relation is a class, or {class, count, which}. `words` is the
// same in the service's words: {objects: [{count, color}], relations: [text], absent: [text]}, entry
// by entry; attributes are words already. Pure functions.

export const nothing = { required: {}, words: {} };

const nameOf = (entry) => (typeof entry === "string" ? entry : entry.class);
const ends = ({ subject, object }) => [subject, object].flat().map(nameOf);

// Numbers of things, not of a range: 2 dogs are 2 × dog.
const shown = (text) => text.replace(/(\d+) (?!to \d)/, "$1 × ");

// The classes that shall be there, each once.
export const objectsOf = ({ objects = [] }) => [...new Set(objects.map(nameOf))];

// One entry of a list changed in both, or taken out.
function change({ required, words }, field, i, entries = [], said = []) {
  const { [field]: now } = required;
  const { [field]: then = [] } = words;
  return {
    required: { ...required, [field]: now.toSpliced(i, 1, ...entries) },
    words: { ...words, [field]: then.toSpliced(i, 1, ...said) },
  };
}

export function withObject(asked, name) {
  if (objectsOf(asked.required).includes(name)) return asked;
  const at = (asked.required.absent ?? []).indexOf(name);
  const { required, words } = at < 0 ? asked : change(asked, "absent", at);
  return {
    required: { ...required, objects: [...(required.objects ?? []), name] },
    words: { ...words, objects: [...(words.objects ?? []), {}] },
  };
}

// Without a class, and whatever is said of it.
export function withoutObject({ required, words }, name) {
  const speaks = { objects: (entry) => nameOf(entry) === name, relations: (entry) => ends(entry).includes(name) };
  const cut = (all, field) => (all[field] ?? []).filter((_, i) => !speaks[field](required[field][i]));
  const rest = (all) => ({ ...all, objects: cut(all, "objects"), relations: cut(all, "relations") });
  return { required: rest(required), words: rest(words) };
}

// What is required beside classes that are there: {text, without}; the latter is what is asked for
// without it.
export function furtherOf(asked) {
  const { objects = [], relations = [], absent = [], attributes = [] } = asked.required;
  const { words } = asked;
  const made = [];
  const add = (text, without) => text && made.push({ text: shown(text), without });
  objects.forEach((entry, i) => {
    const said = words.objects?.[i] ?? {};
    const { color, ...counted } = typeof entry === "string" ? { class: entry } : entry;
    const plain = color ? { class: counted.class, color } : counted.class;
    add(said.count, change(asked, "objects", i, [plain], [{ ...said, count: null }]));
    const bare = said.count ? counted : counted.class;
    add(said.color, change(asked, "objects", i, [bare], [{ ...said, color: null }]));
  });
  relations.forEach((_, i) => add(words.relations?.[i], change(asked, "relations", i)));
  absent.forEach((_, i) => add(words.absent?.[i], change(asked, "absent", i)));
  attributes.forEach((text, i) => add(text, change(asked, "attributes", i)));
  return made;
}

// What a check says of everything beside classes that are there: {text, met}.
export const furtherMet = (checked) =>
  checked.filter(({ kind }) => kind !== "present").map(({ text, met }) => ({ text: shown(text), met }));

// What a scorer says of a picture, what it lacks first: {text, met}.
export const pictureMet = ({ met, unmet }) =>
  [[unmet, false], [met, true]].flatMap(([texts, met]) => texts.map((text) => ({ text: shown(text), met })));

// How many of those that a map can show are met: {met, all}.
export function sumOf(further) {
  const sure = further.filter(({ met }) => met !== null);
  return { met: sure.filter(({ met }) => met).length, all: sure.length };
}

// How a requirement's answer shows: the name of its icon, and of its class and text.
export const signOf = (met) => (met === null ? ["minus", "unchecked"] : met ? ["check", "met"] : ["cross", "unmet"]);
