#include "requirement_words.hpp"

#include <algorithm>
#include <charconv>

#include "phrases.hpp"

namespace fgdm {
namespace {

using Means = PhraseMeaning::Kind;

constexpr PhraseMeaning of(Relation relation) {
  return {Means::relation, relation};
}

constexpr PhraseMeaning number(int value) {
  return {Means::number, {}, value};
}

constexpr PhraseMeaning vague(int least) {
  return {Means::vague, {}, least};
}

const Phrases<PhraseMeaning>& requirement_phrases() {
  static const Phrases<PhraseMeaning> all{
      {of(Relation::left_of),
       "left of,to the left of,on the left of,at the left of,on the left side of,"
       "to the left side of,at the left side of,on the left hand side of,"
       "to the left hand side of,left from,to the left from,immediately left of"},
      {of(Relation::right_of),
       "right of,to the right of,on the right of,at the right of,on the right side of,"
       "to the right side of,at the right side of,on the right hand side of,"
       "to the right hand side of,right from,to the right from,immediately right of"},
      {of(Relation::above),
       "above,over,high above,high over,right above,just above,directly above"},
      {of(Relation::below), "below,right below,just below,directly below"},
      {of(Relation::under),
       "under,underneath,beneath,right under,directly under,in the shade of,in the shadow of"},
      {of(Relation::on), "on,on top of,on the top of,atop,upon,right on,on to,onto"},
      {of(Relation::beside),
       "beside,besides,next to,right next to,right beside,alongside,adjacent to,by,by the side of,"
       "at the side of,side by side with"},
      {of(Relation::between), "between,in between,right between"},
      {of(Relation::in_front_of), "in front of,right in front of,in the front of"},
      {of(Relation::behind), "behind,right behind,in back of"},
      {{Means::link},
       "in,inside,inside of,within,into,at,near,near to,nearby,close to,around,all around,among,"
       "amongst,amid,across,across from,along,against,through,opposite,opposite to,opposite of,"
       "facing,away from,far from,not far from,far away from,outside,outside of,out of,toward,"
       "towards,past,beyond,off,from,surrounded by,followed by,down,up,throughout,"
       "in the middle of,in the center of,in the centre of,at the edge of,on the edge of,"
       "at the foot of,at the bottom of,at the top of,in the corner of,on the other side of,"
       "on both sides of,on either side of,on each side of,on the side of,at the end of,"
       "at the back of,flanked by,as tall as,larger than,smaller than,bigger than,taller "
       "than,covered in,"
       "covered by,covered with,made of,full of,away towards"},
      {{Means::place},
       "on the left,on the right,to the left,to the right,at the left,at the right,"
       "on the left side,on the right side,on the far left,on the far right,on top,"
       "in the foreground,in the background,in the distance,in the middle,in the center,"
       "in the centre,in the corner,at the top,at the bottom,at the front,at the back,in the front,"
       "in the back,on one side,on the other side,"
       "on both sides,on either side,in a row,in a line,side by side,next to each other,"
       "beside each other,in front of each other,behind each other,above each other,"
       "on top of each other,at his left,at her left,at his right,at her right,at his side,at her "
       "side,"
       "at its side,by his side,by her side,at its left,at its right,on its left,on its right,to "
       "its left,to its right,"
       "in the upper left,in the upper right,in the lower left,in the lower right"},
      {{Means::joins}, "and,as well as,plus,together with,along with"},
      {{Means::comma}, "or,but,while,then"},
      {{Means::has},
       "with,without,has,have,having,had,including,includes,containing,contains,shows,showing"},
      {{Means::exists}, "there is,there are,there stands,there stand,there sits,there sit,there s"},
      {{Means::which}, "which,that,who,whom,where"},
      {{Means::pronoun}, "it,them,him,they,he,she,itself"},
      {number(1), "one,a single,single,exactly one,only one,just one,a lone,a solitary"},
      {number(2),
       "two,a pair of,pair of,a couple of,couple of,twin,a duo of,exactly two,only two,just two"},
      {number(3), "three,a trio of,trio of,exactly three,only three,just three"},
      {number(4), "four,exactly four,only four,just four"},
      {number(5), "five,exactly five,only five,just five"},
      {number(6), "six,half a dozen,exactly six"},
      {number(7), "seven,exactly seven"},
      {number(8), "eight"},
      {number(9), "nine"},
      {number(10), "ten"},
      {number(11), "eleven"},
      {number(12), "twelve,a dozen,dozen"},
      {number(13), "thirteen"},
      {number(14), "fourteen"},
      {number(15), "fifteen"},
      {number(16), "sixteen"},
      {number(17), "seventeen"},
      {number(18), "eighteen"},
      {number(19), "nineteen"},
      {number(20), "twenty"},
      {number(30), "thirty"},
      {number(40), "forty"},
      {number(50), "fifty"},
      {number(60), "sixty"},
      {number(70), "seventy"},
      {number(80), "eighty"},
      {number(90), "ninety"},
      {number(100), "hundred,a hundred,one hundred"},
      {{Means::times, {}, 2}, "pairs of,couples of"},
      {{Means::about}, "about,roughly,approximately,nearly,almost,circa"},
      {{Means::at_least}, "at least,no fewer than,no less than,not fewer than,not less than"},
      {{Means::at_most}, "at most,no more than,not more than,up to,a maximum of"},
      {{Means::more_than}, "more than"},
      {{Means::fewer_than}, "fewer than,less than"},
      {{Means::or_more}, "or more"},
      {{Means::or_fewer}, "or fewer,or less"},
      {vague(2), "some,multiple,various,a number of,a set of,different"},
      {vague(3),
       "several,a few,few,many,lots of,a lot of,plenty of,numerous,countless,dozens of,a crowd of,"
       "crowds of,a group of,groups of,a flock of,a herd of,a pack of,a bunch of,a row of,rows of,"
       "a line of,a cluster of,a fleet of,hundreds of,a handful of"},
      {{Means::both}, "both"},
      {{Means::indefinite}, "a,an,another"},
      {{Means::definite},
       "the,this,these,those,his,her,its,their,my,our,your,all,every,each,any,all the,all of the"},
      {{Means::is}, "is,are,was,were,be,being,looks,seems,painted,colored,coloured"},
      {{Means::color},
       "red,blue,yellow,green,white,black,purple,orange,brown,gray,grey,pink,violet,golden,silver,"
       "beige,turquoise"},
      {{Means::stands},
       "sits,sit,stands,stand,lies,lie,runs,run,walks,walk,flies,fly,sleeps,sleep,plays,play,rests,"
       "rest,floats,float,waits,wait,jumps,jump,swims,swim,hangs,hang,shines,shine,grows,grow,"
       "appears,appear,drives,drive,sails,sail,hovers,hover,rolls,roll,lay"},
      {{Means::adverb},
       "parked,placed,located,seated,seen,visible,directly,somewhere,only,exactly,just,also,too,"
       "even"},
  };
  return all;
}

}  // namespace

std::optional<FoundPhrase> requirement_phrase(std::span<const PromptWord> words) {
  if (const auto found = requirement_phrases().find(words))
    return FoundPhrase{found->meaning, found->length};
  const std::string& word = words.front().text;
  const bool digits =
      !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
  int value = 0;
  if (digits && std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc{} &&
      value >= 1 && value <= most_instances)
    return FoundPhrase{number(value), 1};
  return std::nullopt;
}

}  // namespace fgdm
