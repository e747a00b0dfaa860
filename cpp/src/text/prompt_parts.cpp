#include "prompt_parts.hpp"

#include <algorithm>
#include <utility>

#include "negation.hpp"
#include "requirement_words.hpp"

namespace fgdm {
namespace {

using Kind = PromptPart::Kind;
using Meaning = PhraseMeaning::Kind;

constexpr int ten = 10, dozen = 12, hundred = 100;

// Cuts words into parts. What stands before a noun is kept until it comes, or until something else
// shows that it doesn't.
class Cutter {
public:
  Cutter(std::span<const PromptWord> words, const ClassForms& forms)
      : words_(words), forms_(forms), roles_(roles(words)) {}

  PromptParts cut() {
    while (at_ < words_.size()) {
      pause();
      const auto rest = words_.subspan(at_);
      const auto phrase = requirement_phrase(rest);
      const auto said = forms_.said(rest);
      const auto form = said.of_class;
      const bool is_color = phrase && phrase->meaning.kind == Meaning::color && colors_a_noun();
      if (said.length > 0 && !form && (!phrase || said.length >= phrase->length))
        take_attribute(said.length);
      else if (is_compound(phrase))
        take_compound();
      else if (form && !is_color && (!phrase || form->length >= phrase->length))
        take_class(*form);
      else if (phrase)
        take_phrase(*phrase);
      else
        take_other();
    }
    flush();
    push(Kind::stop, 0);
    return std::move(result_);
  }

private:
  // Whether the colour here is followed by what it colours: more words of that kind, then a class.
  bool colors_a_noun() const {
    constexpr std::size_t farthest = 6;
    const auto end = std::min(words_.size(), at_ + farthest);
    for (std::size_t i = at_ + 1; i < end && words_[i].before == Pause::none; ++i) {
      const auto rest = words_.subspan(i);
      if (forms_.find(rest))
        return true;
      const auto phrase = requirement_phrase(rest);
      if (phrase && phrase->meaning.kind != Meaning::color &&
          phrase->meaning.kind != Meaning::joins)
        return false;
    }
    return false;
  }

  // "two-story": a number that is joined to a word and counts nothing.
  bool is_compound(const std::optional<FoundPhrase>& phrase) const {
    const auto next = at_ + (phrase ? phrase->length : 0);
    return phrase && phrase->meaning.kind == Meaning::number && next < words_.size() &&
           words_[next].hyphened && !is(next, Meaning::number);
  }

  void take_compound() {
    do
      ++at_;
    while (at_ < words_.size() && words_[at_].hyphened);
  }

  void pause() {
    const auto before = words_[at_].before;
    if (at_ == 0 || before == Pause::none)
      return;
    if (before == Pause::comma && !pending_.colors.empty() && is(at_, Meaning::color))
      return;
    flush();
    push(before == Pause::stop ? Kind::stop : Kind::comma, 0);
  }

  bool is(std::size_t at, Meaning kind) const {
    if (at >= words_.size())
      return false;
    const auto phrase = requirement_phrase(words_.subspan(at));
    return phrase && phrase->meaning.kind == kind;
  }

  void push(Kind kind, std::size_t length, Relation relation = {}) {
    result_.parts.push_back({kind, at_, at_ + length, relation});
    at_ += length;
  }

  void take_class(const ClassForms::Found& form) {
    PromptPart noun = std::exchange(pending_, {});
    noun.kind = Kind::noun;
    noun.begin = is_pending_ ? noun.begin : at_;
    noun.end = at_ + form.length;
    noun.label = form.index;
    noun.form = words_[noun.end - 1].text;
    noun.plural = !form.is_name;
    noun.excluded = roles_[at_] == Role::excluded;
    last_noun_ = result_.parts.size();
    if (noun.is_class() && (noun.plural || noun.vague || (noun.counted && noun.least > 1)))
      several_ = last_noun_;
    result_.parts.push_back(std::move(noun));
    at_ += form.length;
    is_pending_ = has_unknown_ = has_attribute_ = is_predicate_ = false;
  }

  // Of an attribute's words those before a noun belong to it ("a bald man"); they are one ("a
  // beard") if none comes. Others say something of the noun before ("a man smiling").
  void take_attribute(std::size_t length) {
    if (is_pending_)
      has_unknown_ = has_attribute_ = true;
    at_ += length;
    if (is_pending_)
      pending_.end = at_;
  }

  void take_phrase(const FoundPhrase& phrase) {
    const auto length = phrase.length;
    switch (phrase.meaning.kind) {
    case Meaning::joins:
      if (!pending_.colors.empty() && !has_unknown_ && is(at_ + length, Meaning::color))
        at_ += length;  // "red and white"
      else
        separate(Kind::joins, length);
      break;
    case Meaning::relation:
      if (phrase.meaning.relation == Relation::between && take_range(at_ + length))
        break;
      if (words_[at_].text == "over" && number_at(at_ + 1) >= ten) {  // "over a dozen birds"
        take_determiner({Meaning::more_than}, length);
        break;
      }
      flush();
      // "not under a tree" denies no tree, and no map shows it
      push(roles_[at_] == Role::denied ? Kind::link : Kind::relation, length,
           phrase.meaning.relation);
      break;
    case Meaning::link:
      if (words_[at_].text == "around" && number_at(at_ + 1) > 0)
        take_about(length);
      else
        separate(Kind::link, length);
      break;
    case Meaning::about:
      if (number_at(at_ + length) > 0)
        take_about(length);
      else
        at_ += length;
      break;
    case Meaning::exists:
      separate(Kind::exists, length);
      break;
    case Meaning::stands:
      separate(Kind::stands, length);
      break;
    case Meaning::place:
      separate(Kind::place, length);
      break;
    case Meaning::comma:
      if (words_[at_].text == "or" && pending_.counted && !has_unknown_ && number_at(at_ + 1) > 0)
        extend(length);  // "two or three"
      else
        separate(Kind::comma, length);
      break;
    case Meaning::has:
      separate(Kind::has, length);
      break;
    case Meaning::pronoun:
      if (is_part()) {  // "one of them"
        extend(length);
        flush();
      } else {
        const bool is_plural = words_[at_].text.starts_with("the");
        separate(Kind::pronoun, length);
        result_.parts.back().plural = is_plural;
      }
      break;
    case Meaning::which:
      separate(Kind::which, length);
      break;
    case Meaning::adverb:
      at_ += length;
      break;
    case Meaning::is:
      separate(Kind::stands, length);
      is_predicate_ = true;
      break;
    case Meaning::color:
      if (has_unknown_ && !pending_.colors.empty())
        flush();
      begin();
      pending_.colors.push_back(words_[at_].text);
      extend(length);
      break;
    default:
      take_determiner(phrase.meaning, length);
    }
  }

  // The number that stands there; 0: none does.
  int number_at(std::size_t at) const {
    if (at >= words_.size())
      return 0;
    const auto phrase = requirement_phrase(words_.subspan(at));
    return phrase && phrase->meaning.kind == Meaning::number ? phrase->meaning.number : 0;
  }

  // "two and four" after "between", unless things are what stands between others.
  bool take_range(std::size_t first) {
    const auto and_at = first + 1;
    const int least = number_at(first), most = number_at(and_at + 1);
    if (most <= least || least == 0 || !is(and_at, Meaning::joins))
      return false;
    flush();
    begin();
    count(least);
    pending_.most = most;
    extend(and_at + 2 - at_);
    return true;
  }

  // "about five": so many are not required, and that is told.
  void take_about(std::size_t length) {
    flush();
    const auto phrase = requirement_phrase(words_.subspan(at_ + length));
    PromptPart told{Kind::noun, at_, at_ + length + phrase->length};
    result_.unread.push_back(told);
    at_ = told.end;
  }

  void separate(Kind kind, std::size_t length) {
    flush();
    push(kind, length);
  }

  // Whether a number and "of" stand before: "three of".
  bool is_part() const { return pending_.counted && at_ > 0 && words_[at_ - 1].text == "of"; }

  // Articles, numbers, and what is said of numbers.
  void take_determiner(const PhraseMeaning& meaning, std::size_t length) {
    if (meaning.kind == Meaning::definite && is_part()) {
      extend(length);
      return;
    }
    if (meaning.kind == Meaning::times) {  // "two pairs of"; "pairs of" alone are several
      if (pending_.counted && !has_unknown_) {
        multiply(meaning.number);
        extend(length);
      } else {
        take_determiner({Meaning::vague, {}, 2 * meaning.number}, length);
      }
      return;
    }
    if (meaning.kind == Meaning::number && is_pending_ && !has_unknown_) {
      if (pending_.counted && pending_.most && continues_number(meaning, length)) {
        extend(length);
        return;
      }
      if (!pending_.colors.empty()) {  // "a white one"
        extend(length);
        flush();
        return;
      }
    }
    const bool goes_on = meaning.kind == Meaning::number || meaning.kind == Meaning::or_more ||
                         meaning.kind == Meaning::or_fewer;
    const bool after_the = pending_.definite && !pending_.counted && !has_unknown_;
    if (!(goes_on && (bound_ != Meaning::number || after_the || pending_.counted)) ||
        (meaning.kind == Meaning::number && pending_.counted))
      flush();
    begin();
    switch (meaning.kind) {
    case Meaning::number:
      count(meaning.number);
      break;
    case Meaning::both:
      count(2);
      pending_.definite = true;
      break;
    case Meaning::vague:
      pending_.vague = true;
      pending_.least = meaning.number;
      break;
    case Meaning::or_more:
      pending_.most.reset();
      break;
    case Meaning::or_fewer:
      pending_.least = 1;
      break;
    case Meaning::indefinite:
      pending_.indefinite = true;
      break;
    case Meaning::definite:
      pending_.definite = true;
      break;
    default:
      bound_ = meaning.kind;
    }
    extend(length);
  }

  // Whether the number here and the one before are one: "two dozen", "twenty-one", "two or three".
  bool continues_number(const PhraseMeaning& meaning, std::size_t length) {
    const int number = meaning.number, before = pending_.least;
    const auto& word = words_[at_ - 1].text;
    if (length == 1 && (number == dozen || number == hundred) && before < number) {
      multiply(number);
      return true;
    }
    if (before >= 2 * ten && before % ten == 0 && number < ten && word.ends_with("ty")) {
      pending_.least += number;
      pending_.most = *pending_.most + number;
      return true;
    }
    const bool is_range = word == "or" || word == "to" || words_[at_].hyphened;
    if (!is_range || number <= before || pending_.most != before)
      return false;
    pending_.most = number;
    return true;
  }

  void multiply(int times) {
    pending_.least = std::min(pending_.least * times, most_instances);
    if (pending_.most)
      pending_.most = std::min(*pending_.most * times, most_instances);
  }

  void count(int number) {
    pending_.counted = true;
    const auto bound = std::exchange(bound_, Meaning::number);
    pending_.least = bound == Meaning::more_than ? number + 1 : number;
    pending_.most = number;
    if (bound == Meaning::at_least || bound == Meaning::more_than)
      pending_.most.reset();
    if (bound == Meaning::at_most || bound == Meaning::fewer_than)
      pending_.least = 1;
    if (bound == Meaning::fewer_than)
      pending_.most = std::max(1, number - 1);
  }

  // A word that no table knows. After a noun it says what that does; elsewhere it may be a noun.
  void take_other() {
    const std::string& word = words_[at_].text;
    const bool is_ing = word.size() > 4 && word.ends_with("ing");
    const auto last = result_.parts.empty() ? Kind::stop : result_.parts.back().kind;
    const bool after_noun =
        last == Kind::noun || last == Kind::pronoun || last == Kind::which || last == Kind::stands;
    if (word == "to" && pending_.counted && !has_unknown_ && number_at(at_ + 1) > 0) {
      extend(1);
      return;
    }
    if (word == "of" && pending_.counted && !has_unknown_) {
      pending_.definite = pending_.part = true;
      extend(1);
      return;
    }
    if (is_function_word(word) || (!is_pending_ && (after_noun || is_ing))) {
      ++at_;
      return;
    }
    if (has_unknown_ && is_ing) {
      flush();
      ++at_;
      return;
    }
    begin();
    has_unknown_ = true;
    extend(1);
  }

  void begin() {
    if (!is_pending_)
      pending_.begin = at_;
    is_pending_ = true;
  }

  void extend(std::size_t length) {
    at_ += length;
    pending_.end = at_;
  }

  // No class came.
  void flush() {
    auto left = std::exchange(pending_, {});
    const bool was_pending = std::exchange(is_pending_, false);
    const bool was_unknown = std::exchange(has_unknown_, false);
    const bool was_attribute = std::exchange(has_attribute_, false);
    const bool was_predicate = std::exchange(is_predicate_, false);
    bound_ = Meaning::number;
    if (!was_pending)
      return;
    left.kind = Kind::noun;
    if (!was_unknown && left.counted && left.colors.empty() && names_some(left)) {
      last_noun_ = result_.parts.size();
      result_.parts.push_back(std::move(left));
      return;
    }
    if (!was_unknown && !left.colors.empty() && was_predicate && last_noun_) {
      auto& colors = result_.parts[*last_noun_].colors;
      colors.insert(colors.end(), left.colors.begin(), left.colors.end());
      return;
    }
    if (left.counted || ((!was_unknown || was_attribute) && !left.colors.empty()))
      result_.unread.push_back(left);
    if (!was_unknown)
      return;
    last_noun_ = result_.parts.size();
    result_.parts.push_back(std::move(left));
  }

  // Whether a number without a noun is of things named before, and something is said of them:
  // "three birds: two above a tree".
  bool names_some(PromptPart& number) const {
    if (!several_ || at_ >= words_.size() || words_[at_].before != Pause::none ||
        !(is(at_, Meaning::relation) || is(at_, Meaning::link) || is(at_, Meaning::is) ||
          is(at_, Meaning::stands)))
      return false;
    const auto& of = result_.parts[*several_];
    number.label = of.label;
    number.form = of.form;
    number.plural = of.plural;
    number.definite = number.part = true;
    return true;
  }

  std::span<const PromptWord> words_;
  const ClassForms& forms_;
  std::vector<Role> roles_;
  std::size_t at_ = 0;
  PromptPart pending_{};
  bool is_pending_ = false, has_unknown_ = false, has_attribute_ = false;
  std::optional<std::size_t> last_noun_;
  std::optional<std::size_t> several_;  // the last noun that names more than one thing
  bool is_predicate_ = false;           // after "is"
  Meaning bound_ = Meaning::number;     // "at least" and the like, before its number
  PromptParts result_;
};

}  // namespace

PromptParts prompt_parts(std::span<const PromptWord> words, const ClassForms& forms) {
  return Cutter(words, forms).cut();
}

}  // namespace fgdm
