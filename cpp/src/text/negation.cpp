#include "negation.hpp"

#include <algorithm>

#include "phrases.hpp"

namespace fgdm {
namespace {

// What a phrase does to the words after it.
enum class Effect {
  nothing,  // it sounds like a negation and is none
  negates,  // excludes what follows
  names,    // likewise, and names what is not there: "nobody"
  excepts,  // excludes what follows, unless it is an exception from a negation
  ends,     // turns to something else
  locates,  // a preposition: ends a scope that has named something
  begins,   // an article, number, "wearing": likewise, except after a word that goes on
  goes_on,  // "or": what follows belongs to what is before
};

const Phrases<Effect>& negation_phrases() {
  static const Phrases<Effect> all{
      {Effect::nothing,
       "no doubt,without a doubt,without any doubt,without doubt,without question,no question,"
       "without fail,without exception,without end,no end of,no lack of,no shortage of,no matter,"
       "no wonder,no more than,no less than,no fewer than,not more than,not less than,"
       "not fewer than,not only,not just,not merely,not simply,not far from,not too far from,"
       "not very far from,not without,never without,not unlike,not to mention,not to forget,"
       "nothing but,nothing except,nothing other than,nothing else than,nothing else but,none but,"
       "none other than,no other than,nobody but,no one but,last but not least,whether or not,"
       "if not,why not,free of charge"},
      {Effect::negates,
       "no,not,without,neither,nor,never,zero,minus,sans,lack,lacks,"
       "lacking,absence of,free of,free from,devoid of,void of,empty of,bare of,clear of,instead "
       "of,"
       "rather than,in place of,avoid,avoids,avoiding,exclude,excludes,excluding,omit,omits,"
       "omitting,cannot,isn t,aren t,wasn t,weren t,don t,doesn t,didn t,hasn t,haven t,can t,"
       "won t"},
      {Effect::names, "nobody,no one,nothing,none"},
      {Effect::excepts, "except,except for,excepting,everything but,anything but,all but,other "
                        "than,save for,with the exception of"},
      {Effect::ends,
       "but,only,with,while,when,where,who,which,then,yet,however,instead,just,plus,also,alongside,"
       "there is,there are"},
      {Effect::locates,
       "on,in,at,to,by,near,next,beside,besides,under,over,above,below,behind,between,among,around,"
       "from,into,through,across,along,against,inside,outside,beneath,amid,before,beyond,toward,"
       "towards,atop,upon"},
      {Effect::begins,
       "a,an,the,one,two,three,four,five,six,seven,eight,nine,ten,some,several,many,few,both,each,"
       "every,this,that,these,those,his,her,its,their,wear,wears,wearing"},
      {Effect::goes_on,
       "or,of,any,like,have,has,having,be,been,show,showing,include,including,contain,containing"},
  };
  return all;
}

// Whether a list goes on over the comma before `words`: short items up to an "or" or "nor".
bool list_goes_on(std::span<const PromptWord> words) {
  constexpr std::size_t longest_item = 3;
  constexpr std::size_t longest_list = 64;  // words; bounds the time that commas can cost
  std::size_t item = 0;
  for (std::size_t i = 0; i < words.size() && i < longest_list; ++i) {
    if (words[i].text == "or" || words[i].text == "nor")
      return true;
    if (i > 0 && words[i].before == Pause::stop)
      return false;
    if (words[i].before == Pause::comma)
      item = 0;
    const auto phrase = negation_phrases().find(words.subspan(i));
    if (++item > longest_item || (phrase && phrase->meaning != Effect::goes_on))
      return false;
  }
  return false;
}

// How many words a negation of that length denies: up to a preposition ("isn't on", "not sitting
// on"); 0: it denies none, but excludes.
std::size_t denied(std::span<const PromptWord> words, std::size_t length) {
  const auto& last = words[length - 1].text;
  if (last != "not" && last != "t" && last != "never")
    return 0;
  const auto follows = [&](std::size_t at) {
    return at < words.size() && words[at].before == Pause::none;
  };
  auto at = length;
  if (follows(at) && words[at].text.ends_with("ing"))
    ++at;
  if (!follows(at))
    return 0;
  const auto next = negation_phrases().find(words.subspan(at));
  return next && next->meaning == Effect::locates ? at + 1 : 0;
}

}  // namespace

std::vector<Role> roles(std::span<const PromptWord> words) {
  std::vector<Role> result;
  bool is_excluding = false;  // in the scope of a negation
  bool has_named = false;     // something, in this scope
  bool goes_on = false;       // the word before was an "or" or the like
  bool has_negated = false;   // since the last stop
  const auto open = [&] {
    is_excluding = true;
    has_named = false;
  };
  while (result.size() < words.size()) {
    const auto rest = words.subspan(result.size());
    if (rest.front().before == Pause::stop)
      is_excluding = has_negated = false;
    else if (rest.front().before == Pause::comma && is_excluding && !list_goes_on(rest))
      is_excluding = false;
    if (rest.size() > 1 && rest[1].hyphened && rest[1].text == "free") {
      result.insert(result.end(), {Role::excluded, Role::grammar});
      continue;
    }
    const auto phrase = negation_phrases().find(rest);
    const bool negates = phrase && phrase->meaning == Effect::negates;
    if (const auto length = negates ? denied(rest, phrase->length) : 0; length > 0) {
      is_excluding = false;
      result.insert(result.end(), length - 1, Role::grammar);
      result.push_back(Role::denied);
      continue;
    }
    if (!phrase) {
      const bool is_and = rest.front().text == "and";
      has_named = has_named || !is_and;
      goes_on = false;
      result.push_back(is_and ? Role::grammar : is_excluding ? Role::excluded : Role::asked);
      continue;
    }
    switch (phrase->meaning) {
    case Effect::negates:
    case Effect::names:
      open();
      has_named = phrase->meaning == Effect::names;
      has_negated = true;
      break;
    case Effect::excepts:
      if (has_negated)
        is_excluding = false;
      else
        open();
      break;
    case Effect::nothing:
    case Effect::ends:
      is_excluding = false;
      break;
    case Effect::locates:
      is_excluding = is_excluding && !has_named;
      break;
    case Effect::begins:
      is_excluding = is_excluding && (!has_named || goes_on);
      break;
    case Effect::goes_on:
      break;
    }
    goes_on = phrase->meaning == Effect::goes_on;
    result.insert(result.end(), phrase->length, Role::grammar);
  }
  return result;
}

}  // namespace fgdm
