#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "attributes.hpp"
#include "fgdm/compliance.hpp"
#include "fgdm/error.hpp"
#include "fgdm/objects.hpp"
#include "files.hpp"
#include "json_field.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

[[noreturn]] void refuse_json(const std::string& what) {
  throw RequestError(what + "; docs/compliance.md has the form of requirements and filters");
}

using RequirementField = JsonField<refuse_json>;

nlohmann::json parsed_json(std::string_view text, const char* name) {
  try {
    return parse_json(text);
  } catch (const BundleError& error) {
    refuse_json(std::string(name) + " can't be read: " + error.what());
  }
}

void check_requirement_keys(const RequirementField& field,
                            std::initializer_list<std::string_view> known) {
  std::vector<std::string> names(known.begin(), known.end());
  for (const auto& entry : field.entries())
    if (std::ranges::count(known, entry.first) == 0)
      refuse_json(field.where() + " has \"" + excerpt(entry.first) + "\", expected " +
                  joined(names, ", "));
}

// Reads requirements for one palette.
class RequirementsReader {
public:
  explicit RequirementsReader(const Palette& palette) : palette_(palette) {}

  Requirements read(const RequirementField& field) {
    check_requirement_keys(field, {"objects", "relations", "absent", "attributes"});
    if (field.has("objects"))
      for (const auto& item : field["objects"].items())
        object(item);
    if (field.has("relations"))
      for (const auto& item : field["relations"].items())
        relation(item);
    if (field.has("absent"))
      for (const auto& item : field["absent"].items())
        absent(item, label(item));
    if (field.has("attributes"))
      for (const auto& item : field["attributes"].items())
        attribute(item);
    complete_relations();
    return std::move(required_);
  }

  int label(const RequirementField& field) const {
    const auto name = field.text();
    std::vector<int> found;
    try {
      found = resolve_objects(palette_, {name});
    } catch (const RequestError& error) {
      refuse_json(field.where() + ": " + error.what());
    }
    if (found.empty())
      refuse_json(field.where() + " is empty, expected a class");
    if (found.size() > 1)
      refuse_json(field.where() + " is " + field.shown() + ", which stands for " +
                  shown(found.size()) + " classes; name one, or list it under \"attributes\"");
    return found.front();
  }

private:
  void object(const RequirementField& field) {
    if (!field.is_object()) {
      present(label(field));
      return;
    }
    check_requirement_keys(field, {"class", "count", "at_least", "at_most", "color"});
    const int named = label(field["class"]);
    present(named);
    count(field, named);
    if (field.has("color"))
      required_.colors.push_back({named, field["color"].text()});
  }

  void count(const RequirementField& field, int named) {
    const auto number = [&](const char* key) { return field[key].small(1, most_instances); };
    if (!field.has("count") && !field.has("at_least") && !field.has("at_most"))
      return;
    const auto& entry = palette_.classes()[static_cast<std::size_t>(named)];
    if (!is_thing(named))
      refuse_json(field.where() + " counts " + entry.name +
                  ", which is background and has no instances; leave the count out");
    if (std::ranges::count(required_.counts, named, &CountRequirement::label) > 0)
      refuse_json(field.where() + " counts " + entry.name + " again; say it once");
    CountRequirement made{named, 1, std::nullopt};
    if (field.has("count")) {
      if (field.has("at_least") || field.has("at_most"))
        refuse_json(field.where() + " has count and a bound; give either");
      made.least = number("count");
      made.most = made.least;
    }
    if (field.has("at_least"))
      made.least = number("at_least");
    if (field.has("at_most"))
      made.most = number("at_most");
    if (made.most && *made.most < made.least)
      refuse_json(field.where() + " asks for at least " + shown(made.least) + " and at most " +
                  shown(*made.most));
    required_.counts.push_back(made);
  }

  void relation(const RequirementField& field) {
    check_requirement_keys(field, {"subject", "relation", "object"});
    const auto name = field["relation"].text();
    const auto kind = relation_of(name);
    if (!kind)
      refuse_json(
          field["relation"].where() + " is \"" + excerpt(name) +
          "\", expected left of, right of, above, below, on, under, beside, between, in front "
          "of or behind");
    const auto subject = end(field["subject"], 1);
    const auto object = field["object"];
    const auto other_than_subject = [&](const RequirementField& of) {
      return end(of, usual_which(label_of(of), subject));
    };
    RelationRequirement made{subject, *kind, subject, std::nullopt};
    if (*kind == Relation::between) {
      const auto ends = object.items();
      if (ends.size() != 2)
        refuse_json(object.where() + " has " + shown(ends.size()) +
                    " classes, expected the two that \"between\" speaks of");
      made.object = other_than_subject(ends.front());
      made.other = other_than_subject(ends.back());
      if (made.object.label == made.other->label && made.object.which == made.other->which &&
          is_thing(made.object.label))
        made.object.least = made.other->least = std::max({2, made.object.least, made.other->least});
      present(made.other->label);
    } else {
      made.object = other_than_subject(object);
    }
    present(subject.label);
    present(made.object.label);
    required_.relations.push_back(made);
  }

  int label_of(const RequirementField& field) const {
    return label(field.is_object() ? field["class"] : field);
  }

  bool is_thing(int named) const {
    return palette_.classes()[static_cast<std::size_t>(named)].thing;
  }

  // What the object's mention is if the JSON gives none.
  int usual_which(int named, const Mention& subject) const {
    return named == subject.label && is_thing(named) ? subject.which + 1 : 1;
  }

  // `least` is 0 where the JSON doesn't give it.
  Mention end(const RequirementField& field, int usual) const {
    Mention made{label_of(field), 0, usual};
    if (!field.is_object())
      return made;
    check_requirement_keys(field, {"class", "count", "which"});
    if (!is_thing(made.label) && (field.has("count") || field.has("which")))
      refuse_json(field.where() + " counts " +
                  palette_.classes()[static_cast<std::size_t>(made.label)].name +
                  ", which is background and has no instances; give its name alone");
    if (field.has("count"))
      made.least = field["count"].small(1, most_instances);
    if (field.has("which"))
      made.which = field["which"].small(1, most_instances);
    return made;
  }

  // Ends that are the same things are as many.
  void complete_relations() {
    std::map<std::pair<int, int>, int> least;  // by class and mention
    const auto for_each_end = [&](auto act) {
      for (auto& relation : required_.relations) {
        act(relation.subject);
        act(relation.object);
        if (relation.other)
          act(*relation.other);
      }
    };
    for_each_end([&](const Mention& end) {
      auto& known = least[{end.label, end.which}];
      known = std::max(known, end.least);
    });
    for_each_end([&](Mention& end) {
      const int known = least.at({end.label, end.which});
      end.least = known > 0 ? known : mentions_of(required_, end.label).usual_least;
    });
  }

  void attribute(const RequirementField& field) {
    const auto said = attribute_of(palette_, field.text());
    if (!said) {
      std::vector<std::string> known;
      for (const auto& one : palette_.attributes())
        known.push_back(one.name);
      refuse_json(field.where() + " is " + field.shown() + ", which is no attribute of palette \"" +
                  palette_.name() + "\"; " +
                  (known.empty() ? "it has none" : "it has: " + joined(known, ", ")));
    }
    const auto& found = palette_.attributes()[static_cast<std::size_t>(said->index)];
    const auto asked = classes_of(found, said->denied);
    for (const int named : asked.present) {
      if (std::ranges::count(required_.absent, named) > 0)
        refuse_json(field.where() + " is " + field.shown() + ", which asks for " +
                    palette_.classes()[static_cast<std::size_t>(named)].name +
                    "; that shall be absent");
      present(named);
    }
    for (const int named : asked.absent)
      absent(field, named);
    if (!found.shown && std::ranges::count(required_.attributes, *said) == 0)
      required_.attributes.push_back(*said);
  }

  // What the field says denies a class.
  void absent(const RequirementField& field, int named) {
    if (std::ranges::count(required_.present, named) > 0)
      refuse_json(field.where() + " is " + field.shown() + ", which is required too");
    if (std::ranges::count(required_.absent, named) == 0)
      required_.absent.push_back(named);
  }

  void present(int named) {
    if (std::ranges::count(required_.present, named) == 0)
      required_.present.push_back(named);
  }

  const Palette& palette_;
  Requirements required_;
};

std::string counted(const CountRequirement& count, const std::string& name) {
  if (count.most == count.least)
    return shown(count.least) + " " + name;
  if (!count.most)
    return "at least " + shown(count.least) + " " + name;
  return (count.least > 1 ? shown(count.least) + " to " : std::string("at most ")) +
         shown(*count.most) + " " + name;
}

}  // namespace

Requirements parse_requirements(const Palette& palette, std::string_view json) {
  const auto document = parsed_json(json, "requirements");
  return RequirementsReader(palette).read(RequirementField(document, "requirements"));
}

std::vector<MapFilter> parse_filters(const Palette& palette, std::string_view json,
                                     double min_area) {
  const auto document = parsed_json(json, "forbid");
  const RequirementsReader reader(palette);
  std::vector<MapFilter> filters;
  for (const auto& item : RequirementField(document, "forbid").items()) {
    auto& filter = filters.emplace_back(MapFilter{{}, min_area});
    if (!item.is_object()) {
      filter.classes = {reader.label(item)};
      continue;
    }
    check_requirement_keys(item, {"classes", "min_area"});
    for (const auto& name : item["classes"].items())
      filter.classes.push_back(reader.label(name));
    if (filter.classes.empty())
      refuse_json(item["classes"].where() + " is empty, expected one or more classes");
    if (item.has("min_area"))
      filter.min_area = item["min_area"].number(0.0, 1.0);
  }
  return filters;
}

std::vector<RequirementText> describe(const Palette& palette, const Requirements& requirements) {
  const auto name = [&](int label) {
    return palette.classes()[static_cast<std::size_t>(label)].name;
  };
  std::vector<RequirementText> texts;
  for (const int label : requirements.present)
    texts.push_back({"present", name(label)});
  for (const auto& count : requirements.counts)
    texts.push_back({"count", counted(count, name(count.label))});
  const auto mention = [&](const Mention& of) {
    const bool is_other = of.which > 1 && mentions_of(requirements, of.label).are_different;
    const auto number = of.least > 1 ? shown(of.least) + (is_other ? " other " : " ")
                        : is_other   ? std::string("another ")
                                     : std::string();
    return number + name(of.label);
  };
  for (const auto& one : requirements.relations)
    texts.push_back(
        {"relation",
         mention(one.subject) + " " + std::string(relation_name(one.relation)) + " " +
             mention(one.object) +
             (one.other && one.other != one.object ? " and " + mention(*one.other) : "")});
  for (const int label : requirements.absent)
    texts.push_back({"absent", "no " + name(label)});
  for (const auto& one : requirements.colors)
    texts.push_back({"color", one.color + " " + name(one.label)});
  for (const auto& said : requirements.attributes)
    texts.push_back({"attribute", attribute_text(palette, said)});
  return texts;
}

std::string requirements_json(const Palette& palette, const Requirements& requirements) {
  using Json = nlohmann::ordered_json;
  const auto name = [&](int label) {
    return palette.classes()[static_cast<std::size_t>(label)].name;
  };
  Json objects = Json::array(), relations = Json::array(), absent = Json::array();
  for (const int label : requirements.present) {
    Json object = {{"class", name(label)}};
    for (const auto& count : requirements.counts) {
      if (count.label != label)
        continue;
      if (count.most == count.least) {
        object["count"] = count.least;
        continue;
      }
      object["at_least"] = count.least;
      if (count.most)
        object["at_most"] = *count.most;
    }
    objects.push_back(object.size() > 1 ? object : Json(name(label)));
  }
  for (const auto& one : requirements.colors)
    objects.push_back({{"class", name(one.label)}, {"color", one.color}});
  const auto end = [&](const Mention& of, int usual_which) {
    Json made = {{"class", name(of.label)}};
    if (of.least != mentions_of(requirements, of.label).usual_least)
      made["count"] = of.least;
    if (of.which != usual_which)
      made["which"] = of.which;
    return made.size() > 1 ? made : Json(name(of.label));
  };
  for (const auto& one : requirements.relations) {
    const auto of_object = [&](const Mention& of) {
      const bool is_thing = palette.classes()[static_cast<std::size_t>(of.label)].thing;
      return end(of, of.label == one.subject.label && is_thing ? one.subject.which + 1 : 1);
    };
    Json object = of_object(one.object);
    if (one.other)
      object = Json::array({object, of_object(*one.other)});
    relations.push_back({{"subject", end(one.subject, 1)},
                         {"relation", std::string(relation_name(one.relation))},
                         {"object", object}});
  }
  for (const int label : requirements.absent)
    absent.push_back(name(label));
  Json made{{"objects", objects}, {"relations", relations}, {"absent", absent}};
  for (const auto& said : requirements.attributes)
    made["attributes"].push_back(attribute_text(palette, said));
  return made.dump();
}

}  // namespace fgdm
