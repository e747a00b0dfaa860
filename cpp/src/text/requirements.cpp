#include "fgdm/requirements.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "fgdm/objects.hpp"
#include "prompt_mentions.hpp"
#include "prompt_parts.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using Kind = PromptPart::Kind;
using Place = std::size_t;  // of a part

// Reads who stands where from the parts of a prompt.
class RelationReader {
public:
  explicit RelationReader(const std::vector<PromptPart>& parts) : parts_(parts) {}

  struct Found {
    Place subject;
    Relation relation;
    Place object;
    std::optional<Place> other;
  };
  std::vector<Found> relations;
  std::vector<std::pair<Place, Place>> unread;  // first and last part

  void read() {
    for (; at_ < parts_.size(); ++at_)
      switch (parts_[at_].kind) {
      case Kind::noun:
        noun();
        break;
      case Kind::relation:
        relation();
        break;
      case Kind::link:
        give_up_pending();
        pending_ = at_;
        break;
      case Kind::place:
        give_up_pending();
        unread.emplace_back(at_, at_);
        break;
      case Kind::joins:
      case Kind::comma:
        if (give_up_pending())
          subjects_.clear();
        if (separator_ != Kind::joins || parts_[at_].kind == Kind::joins)
          separator_ = parts_[at_].kind;
        break;
      case Kind::has:
      case Kind::exists:
        give_up_pending();
        if (!last_noun_ ||
            !parts_[*last_noun_].excluded)  // "without a person but with a cat on it"
          owner_ = !clause_.empty() && is_one(clause_.front()) ? clause_.front() : last_noun_;
        subjects_.clear();
        separator_ = Kind::has;
        break;
      case Kind::stands:
        stands();
        break;
      case Kind::which:
        is_in_which_ = true;
        subjects_ = last_noun_ ? std::vector{*last_noun_} : std::vector<Place>{};
        separator_.reset();
        is_after_object_ = false;
        break;
      case Kind::pronoun:
        pronoun();
        break;
      case Kind::stop:
        end_sentence();
        break;
      }
  }

private:
  void noun() {
    if (pending_) {
      object();
    } else if (!fronted_.empty()) {
      subjects_ = {at_};
      for (const auto& [relation, object, other] : fronted_)
        give(relation, object, other, object);
      fronted_.clear();
      is_after_object_ = false;
    } else if (!subjects_.empty() && !is_after_object_ &&
               (separator_ == Kind::joins || separator_ == Kind::comma)) {
      if (separator_ == Kind::comma)
        has_comma_ = at_;
      subjects_.push_back(at_);
      joined_ = separator_ == Kind::joins;
    } else {
      subjects_ = {at_};
      is_after_object_ = stands_ = false;
      has_comma_.reset();
    }
    separator_.reset();
    if (!first_noun_)
      first_noun_ = at_;
    if (!is_one(at_))
      several_ = at_;
    before_last_ = std::exchange(last_noun_, at_);
  }

  // "the cat beside the dog is under a tree": the cat is. Of a clause, the first verb does so.
  void stands() {
    if (std::exchange(is_in_which_, false))
      return;
    if (!std::exchange(stands_, true) && is_after_object_ && !clause_.empty())
      subjects_ = clause_;
  }

  // Whether what the relation here leads to is followed by its subject: "under it stands a tree".
  bool is_fronted() const {
    if (at_ + 2 >= parts_.size())
      return false;
    const auto object = parts_[at_ + 1].kind, next = parts_[at_ + 2].kind;
    return (object == Kind::noun || object == Kind::pronoun) &&
           (next == Kind::noun || next == Kind::stands || next == Kind::exists);
  }

  void relation() {
    give_up_pending();
    if (at_ + 1 < parts_.size() && parts_[at_ + 1].kind == Kind::which && last_noun_) {
      fronted_.push_back({at_++, *last_noun_, {}});  // "a tree under which"
      subjects_.clear();
      return;
    }
    const bool is_comma = separator_ == Kind::comma;
    if ((is_comma || separator_ == Kind::joins) && is_fronted()) {
      subjects_.clear();
      separator_.reset();
    } else if (is_comma && owner_ && std::ranges::all_of(subjects_, [&](Place subject) {
                 return parts_[subject].excluded;
               })) {
      subjects_ = {*owner_};  // "a house with no trees, beside a road"
    } else if (is_comma || separator_ == Kind::joins) {
      if (!clause_.empty())
        subjects_ = clause_;  // "beside a house and under a tree"
    } else if (has_comma_ && !joined_) {
      subjects_ = {subjects_.back()};  // "a dog, a cat under a tree"
    }
    has_comma_.reset();
    pending_ = at_;
    opens_ = subjects_.empty() || is_comma;
  }

  // The noun here is what the pending relation or link leads to.
  void object() {
    const Place relation = *std::exchange(pending_, std::nullopt);
    Place last = at_;
    std::optional<Place> other;
    if (parts_[relation].kind == Kind::relation) {
      const bool two = parts_[relation].relation == Relation::between;
      const bool says_two = parts_[at_].counted && parts_[at_].least > 1;
      if (two && at_ + 2 < parts_.size() && parts_[at_ + 1].kind == Kind::joins &&
          parts_[at_ + 2].kind == Kind::noun &&
          !(says_two && at_ + 3 < parts_.size() && parts_[at_ + 3].kind == Kind::relation))
        other = last = at_ + 2;
      if (subjects_.empty()) {
        fronted_.push_back({relation, at_, other});
        it_ = at_;
      } else
        give(relation, at_, other, last);
    } else if (parts_[at_].is_class()) {
      unread.emplace_back(relation, at_);
    }
    owner_.reset();
    if (!subjects_.empty()) {
      clause_ = std::exchange(subjects_, {last});
      is_after_object_ = true;
    }
    at_ = last;
  }

  // Requires the relation of all subjects, or says that it can't be read.
  void give(Place relation, Place object, std::optional<Place> other, Place last) {
    const auto& of = parts_[relation];
    const auto& to = parts_[object];
    const bool is_between = of.relation == Relation::between;
    const bool is_one = to.indefinite || (to.counted && to.least < 2);
    bool any = to.is_class() && (!other || parts_[*other].is_class());
    if (is_between && !other && is_one)
      any = false;  // between one thing and what?
    if (any) {
      any = false;
      for (const Place subject : subjects_)
        if (parts_[subject].is_class()) {
          any = true;
          std::optional<Place> second;
          if (is_between)
            second = other.value_or(object);
          relations.push_back({subject, of.relation, object, second});
        }
    }
    if (!any)
      unread.emplace_back(relation, std::max(relation, last));
  }

  void pronoun() {
    if (!pending_) {
      if (subjects_.empty() && earlier_)
        subjects_ = {*earlier_};
      return;
    }
    const Place relation = *std::exchange(pending_, std::nullopt);
    auto whom = subjects_.empty() ? std::nullopt : before(subjects_.front());
    if (!whom && opens_) {  // "a house, behind it a tree"
      subjects_.clear();
      whom = it_ ? it_ : last_noun_ ? last_noun_ : earlier_last_;
    }
    if (parts_[at_].plural && whom && is_one(*whom))
      whom = several_;  // "them"
    it_ = whom;
    if (parts_[relation].kind != Kind::relation || !whom)
      unread.emplace_back(relation, at_);
    else if (subjects_.empty())
      fronted_.push_back({relation, *whom, {}});
    else
      give(relation, *whom, {}, at_);
    clause_ = subjects_;
    is_after_object_ = true;
  }

  // What "it" is, said of the noun that is a subject now.
  std::optional<Place> before(Place noun) const {
    if (owner_ && *owner_ < noun)
      return owner_;  // "a house with a tree behind it"
    if (last_noun_ == noun && before_last_)
      return before_last_;
    return earlier_last_;
  }

  bool is_one(Place noun) const {
    const auto& part = parts_[noun];
    return !part.vague && !part.plural && !(part.counted && part.least > 1);
  }

  // Whether a relation was waiting for what it leads to, which doesn't come.
  bool give_up_pending() {
    const auto pending = std::exchange(pending_, std::nullopt);
    const bool given_up = pending && parts_[*pending].kind == Kind::relation;
    if (given_up)
      unread.emplace_back(*pending, *pending);
    return given_up;
  }

  void end_sentence() {
    give_up_pending();
    for (const auto& [relation, object, other] : fronted_)
      unread.emplace_back(relation, std::max(relation, other.value_or(object)));
    fronted_.clear();
    subjects_.clear();
    clause_.clear();
    separator_.reset();
    has_comma_.reset();
    is_after_object_ = joined_ = stands_ = is_in_which_ = false;
    it_.reset();
    if (first_noun_) {
      earlier_ = first_noun_;
      earlier_last_ = last_noun_;
    }
    owner_.reset();
    first_noun_.reset();
    last_noun_.reset();
    before_last_.reset();
  }

  struct Fronted {  // "under a tree, a dog": the subject is to come
    Place relation, object;
    std::optional<Place> other;
  };

  const std::vector<PromptPart>& parts_;
  Place at_ = 0;
  std::vector<Place> subjects_;  // of the next relation
  std::vector<Place> clause_;    // of the last one
  std::vector<Fronted> fronted_;
  std::optional<Place> pending_;    // a relation or link that waits for what it leads to
  bool opens_ = false;              // a clause: the pending relation
  std::optional<Kind> separator_;   // since the last noun
  std::optional<Place> has_comma_;  // among the subjects
  bool joined_ = false;             // by "and": the last of the subjects
  bool is_after_object_ = false;    // the last noun is what a relation leads to
  bool stands_ = false;             // this clause has had its verb
  bool is_in_which_ = false;        // its verb is to come
  std::optional<Place> it_;         // of this sentence: what the last "it" was, or what was fronted
  std::optional<Place> several_;    // the last noun that names more than one thing
  std::optional<Place> first_noun_, last_noun_, before_last_;  // of this sentence
  std::optional<Place> earlier_, earlier_last_;  // the first and last of the one before
  std::optional<Place> owner_;                   // before "with", of this sentence
};

class PromptReader {
public:
  PromptReader(const Palette& palette, std::string_view prompt, bool articles_count)
      : palette_(palette), articles_count_(articles_count), words_(prompt_words(prompt)),
        parts_(prompt_parts(words_, ClassForms(palette))) {
    auto objects = find_objects(palette, prompt);
    found_.requirements.present = std::move(objects.requested);
    found_.requirements.absent = std::move(objects.excluded);
    found_.requirements.attributes = std::move(objects.attributes);
  }

  PromptRequirements read() {
    for (const auto& part : parts_.unread)
      tell(part.begin, part.end);
    read_nouns();
    RelationReader reader(parts_.parts);
    reader.read();
    for (const auto& [first, last] : reader.unread)
      tell(parts_.parts[first].begin, parts_.parts[last].end);
    PromptMentions mentions(palette_, parts_.parts, articles_count_);
    auto& required = found_.requirements;
    required.counts = mentions.counts();
    for (const auto& found : reader.relations)
      if (found.other == found.object)
        mentions.need(found.object, 2);
    for (const auto& found : reader.relations) {
      const auto relation = with_mentions(mentions, found);
      if (std::ranges::none_of(required.relations, [&](const RelationRequirement& known) {
            // "men and women on a beach" are people on a beach
            auto same = relation;
            if (!mentions.adds(found.subject) && same.subject.label == known.subject.label)
              same.subject = known.subject;
            return known == same;
          }))
        required.relations.push_back(relation);
    }
    number_mentions(required.relations);
    return std::move(found_);
  }

private:
  static RelationRequirement with_mentions(const PromptMentions& mentions,
                                           const RelationReader::Found& found) {
    RelationRequirement relation{
        mentions.at(found.subject), found.relation, mentions.at(found.object), {}};
    if (found.other)
      relation.other = mentions.at(*found.other);
    return relation;
  }

  // Numbers the mentions of each class as they come in relations, from 1.
  static void number_mentions(std::vector<RelationRequirement>& relations) {
    std::map<int, std::vector<int>> seen;  // by class
    const auto number = [&](Mention& end) {
      auto& known = seen[end.label];
      const auto found = std::ranges::find(known, end.which);
      const auto place = found - known.begin();
      if (found == known.end())
        known.push_back(end.which);
      end.which = static_cast<int>(place) + 1;
    };
    for (auto& relation : relations) {
      number(relation.subject);
      number(relation.object);
      if (relation.other)
        number(*relation.other);
    }
  }

  // What is said of single nouns.
  void read_nouns() {
    auto& required = found_.requirements;
    for (const auto& part : parts_.parts) {
      if (part.kind != Kind::noun || !part.is_class())
        continue;
      if (part.counted && !palette_.classes()[static_cast<std::size_t>(part.label)].thing)
        tell(part.begin, part.end);
      for (const auto& color : part.colors)
        if (std::ranges::none_of(required.colors, [&](const ColorRequirement& known) {
              return known.label == part.label && known.color == color;
            }))
          required.colors.push_back({part.label, color});
    }
  }

  // Something that isn't understood: these words.
  void tell(std::size_t begin, std::size_t end) {
    std::string text;
    for (std::size_t i = begin; i < end; ++i)
      text += (i == begin ? "" : " ") + words_[i].text;
    if (found_.unread.size() < most_unrecognized &&
        std::ranges::count(found_.unread, excerpt(text)) == 0)
      found_.unread.push_back(excerpt(text));
  }

  const Palette& palette_;
  bool articles_count_;
  std::vector<PromptWord> words_;
  PromptParts parts_;
  PromptRequirements found_;
};

}  // namespace

PromptRequirements find_requirements(const Palette& palette, std::string_view prompt,
                                     bool articles_count) {
  return PromptReader(palette, prompt, articles_count).read();
}

}  // namespace fgdm
