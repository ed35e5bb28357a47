#include "data/verbs/verb_table.h"

#include "autograd/base/error.h"

namespace notch::data {
namespace {

// Rows are separated by ";". A row: FORMS COMPLEMENTS [!FLAGS]
//   FORMS        base/past/participle, or base alone when regular; "+" after a base that doubles
//   its
//                last consonant although it has several syllables
//   COMPLEMENTS  [preposition:]class, comma-separated (classes: verb_lexicon.cpp); "-" for none;
//   "@" appends
//                a location, ">" a recipient
//   FLAGS        s stative, p punctual, a animals can do it
constexpr std::string_view kIrregular = R"(
become/became/become role !p; begin+/began/begun work !p; bend/bent/bent metal; bind/bound/bound text;
bite/bit/bitten into:food !ap; bleed/bled/bled - !a; blow/blew/blown whistle; break/broke/broken fragile !p;
breed/bred/bred animal; bring/brought/brought gift> !p; build/built/built building;
burst/burst/burst balloon !p; buy/bought/bought thing,cloth,food,vehicle; cast/cast/cast vote !p;
catch/caught/caught ball !ap; choose/chose/chosen cloth,text,gift; cling/clung/clung to:rope !a;
come/came/come to:place !a; creep/crept/crept into:room !a; cut/cut/cut paper; deal/dealt/dealt with:problem;
dig/dug/dug hole !a; do/did/done work; draw/drew/drawn picture; drink/drank/drunk drink !a;
drive/drove/driven vehicle,to:place; eat/ate/eaten food !a; fall/fell/fallen off:seat !ap;
feed/fed/fed animal; feel/felt/felt weather !sa; fight/fought/fought with:person; find/found/found thing,animal !ap;
flee/fled/fled from:danger !a; fling/flung/flung ball !p; fly/flew/flown kite,to:place;
forbid+/forbade/forbidden game !p; forget+/forgot/forgotten name,key !s; forgive/forgave/forgiven person !p;
freeze/froze/frozen food; get/got/gotten gift,text !p; give/gave/given gift> !p; go/went/gone to:place !a;
grind/ground/ground grain; grow/grew/grown plant; hang/hung/hung picture,cloth; have/had/had thing,animal,vehicle !s;
hear/heard/heard sound !sa; hide/hid/hidden thing@; hit/hit/hit ball,nail !p; hold/held/held thing;
hurt/hurt/hurt body !ap; keep/kept/kept secret,animal; kneel/knelt/knelt -@; know/knew/known name,person !s;
lay/laid/laid thing@ !p; lead/led/led team; leave/left/left room,event !ap; lend/lent/lent loan> !p;
lie/lay/lain -@ !a; light/lit/lit candle !p; lose/lost/lost thing,match !p; make/made/made cake,toy;
meet/met/met person !p; mow/mowed/mown lawn; overcome/overcame/overcome problem !p;
overhear/overheard/overheard secret !p; oversee/oversaw/overseen project; oversleep/overslept/overslept - !p;
overtake/overtook/overtaken vehicle !p; pay/paid/paid bill; prove/proved/proven theory; put/put/put thing@ !p;
quit/quit/quit team !p; read/read/read text; rebuild/rebuilt/rebuilt building; redo/redid/redone work;
repay/repaid/repaid debt !p; reset+/reset/reset clock !p; rethink/rethought/rethought plan;
rewrite/rewrote/rewritten text; ride/rode/ridden ride; ring/rang/rung bell; rise/rose/risen from:seat !p;
run/ran/run to:place !a; saw/sawed/sawn log; say/said/said word !p; see/saw/seen animal,person,building !sa;
seek/sought/sought help; sell/sold/sold vehicle,building,cloth; send/sent/sent text> !p; set/set/set clock !p;
sew/sewed/sewn cloth; shake/shook/shaken tree; shoot/shot/shot video; show/showed/shown picture>;
shrink/shrank/shrunk cloth !p; shut/shut/shut door !p; sing/sang/sung song; sink/sank/sunk boat !p;
sit/sat/sat -@ !a; slay/slew/slain dragon !p; sleep/slept/slept -@ !a; slide/slid/slid down:hill !a;
sow/sowed/sown seed; speak/spoke/spoken language,to:person; spend/spent/spent money; spin/spun/spun wheel;
split/split/split log !p; spread/spread/spread rumor; stand/stood/stood -@ !a; steal/stole/stolen thing,food !ap;
stick/stuck/stuck poster@ !p; stride/strode/stridden across:street; strike/struck/struck ball,bell !p;
swear/swore/sworn oath !p; sweep/swept/swept floor; swim/swam/swum across:river,in:river !a;
swing/swung/swung bat; take/took/taken medicine,exam; teach/taught/taught subject,person;
tear/tore/torn paper !p; tell/told/told tale> !p; think/thought/thought about:plan,about:person;
throw/threw/thrown ball !p; understand/understood/understood language,question !s;
undertake/undertook/undertaken project !p; undo/undid/undone knot !p; upset+/upset/upset person !p;
wake/woke/woken person !ap; wear/wore/worn cloth; weave/wove/woven rug; weep/wept/wept -;
win/won/won match !p; wind/wound/wound rope; withdraw/withdrew/withdrawn money !p; write/wrote/written text;
beat/beat/beaten team !p; bet/bet/bet money !p; bid/bid/bid on:picture !p; broadcast/broadcast/broadcast match;
foresee/foresaw/foreseen problem !s; foretell/foretold/foretold danger !p;
misunderstand/misunderstood/misunderstood question !s; outgrow/outgrew/outgrown cloth !p;
outrun+/outran/outrun animal !ap; retell/retold/retold tale; remake/remade/remade plan;
)";

constexpr std::string_view kRegular = R"(
accept gift,plan !p; admire picture,building; admit+ mistake !p; adopt animal !p; answer question;
approve plan !p; arrange event; arrive at:place !ap; ask question,person; attack castle; attend event;
avoid problem,person; bake cake; believe tale,person !s; boil egg,potato; borrow loan !p; brush animal,cloth;
burn paper; bury bone,seed; call person; carry thing,to:room; celebrate holiday; change plan,cloth;
chase animal !a; check bill,clock; cheer for:team; chop log,onion; clean room,floor; climb hill,tree !a;
close door !p; collect stamp; comfort person; commit+ crime !p; compare picture,plan; complain about:noise;
complete work !p; connect machine; consider plan; control+ machine; cook food; copy text,picture;
correct mistake; count stamp,animal; cover hole; create picture,game; cross street,river !a; cry - !a;
dance with:person; decorate room,cake; defend castle,team; delay event; delete text !p; deliver text,food;
deny mistake !p; describe picture,building; design building,cloth,machine; destroy castle,text !p;
develop plan,machine; discover planet,secret !p; discuss plan,problem; divide cake,money; dream of:place;
drop thing,fragile !p; dry cloth; earn money; empty bag !p; enjoy event,food; enter room !ap;
erase word !p; escape from:danger !ap; examine animal,picture; exchange gift !p; explain problem,plan;
explore planet,hill !a; fail exam !p; fasten rope !p; fetch ball,drink !a; fill bag,hole; finish work !p;
fix machine; float on:river !a; fold cloth,paper; follow person,animal !a; frighten person,animal !a;
fry egg,potato; gather seed,flower; greet person !p; guard door,building !a; guess name !p; guide team;
hammer nail; hate noise,exam !s; heat drink; help person; hug person; hunt animal !a; hurry to:place !a;
ignore person,noise; imagine planet; improve plan,machine; inform person !p; inspect vehicle,building;
install machine; invent machine,game; invite person !p; iron cloth; join team !p; joke about:exam;
jump over:hole !a; kick ball; kiss person !p; knit cloth; knock on:door; label bag; land on:planet !p;
laugh at:tale; launch boat !p; learn language,song,subject; lift bag; like food,song,person !s;
listen to:sound !a; live in:city; load vehicle; lock door !p; look at:picture,at:animal !a; love person,song !s;
mail text !p; manage project,team; mark exam; measure room,cloth; melt fat; mend cloth; mention name !p;
milk cow; mimic person; miss vehicle,person !p; mix drink; move seat; nail poster@ !p; need help,thing !s;
notice mistake,noise !sa; obey person !s; observe animal,planet; occupy castle; offer gift> !p; omit+ word !p;
open door,text !p; order food !p; organize event; own building,vehicle !s; pack bag; paint picture,building;
park vehicle !p; pass exam !p; peel onion,potato; perform song; phone person; photograph building,animal;
pick flower; plan event,holiday; plant tree,flower,seed; play instrument,sport; point at:picture;
polish floor,vehicle; pour drink; practice song,language,instrument; praise person; prefer+ food,sport !s;
prepare food,exam; present plan !p; preserve food; print text; produce machine,video; protect animal,building !a;
pull rope !a; punish person; push vehicle; raise animal,flag; reach hill,city !ap; receive gift,text !p;
recognize person,song !s; record song,video; recycle paper; refuse gift !p; regret+ mistake !s; relax -@ !a;
remember name,person !s; remove poster !p; rent building,vehicle; repair machine; repeat word,question;
replace machine !p; reply to:person !p; report crime !p; rescue animal,person; respect person !s; rest -@ !a;
return loan !p; review text,plan; rob bank !p; sail to:place; save money; scrub floor; search for:key !a;
serve food,drink; share food,secret; shout at:person; sign text !p; sketch picture,animal; skip exam,event !p;
slice onion,cake; smell flower !sa; smile at:person; solve problem !p; start work,machine !p; stay in:city;
stir drink; stop vehicle !p; study subject,language; submit+ work !p; suggest plan !p; support team;
surprise person !p; switch_off machine !p; taste food,drink !a; tease animal,person; test machine; thank person !p;
tie rope; touch flower,fragile !a; train animal,team; transfer+ money !p; translate text,tale; transport vehicle;
travel to:place; treat animal; trim tree; trust person !s; try food; turn_off machine !p; type text; unload vehicle;
unlock door !p; use machine; vacuum floor,room; visit person,building; wait for:person,for:vehicle !a;
walk to:place !a; want thing,gift !s; warn person,team !p; wash cloth,vehicle; waste money; watch match,animal !a;
water flower,plant; wave to:person; weigh bag,animal; welcome person,team !p; whisper to:person; whistle song;
wipe seat,floor; work on:project; worry about:exam; wrap gift; yell at:person;
)";

bool is_vowel(char c) { return std::string_view("aeiou").find(c) != std::string_view::npos; }

bool ends_with(std::string_view word, std::string_view end) {
  return word.size() >= end.size() && word.substr(word.size() - end.size()) == end;
}

/// Whether the last consonant is doubled by the rule for words of one syllable.
bool doubles_by_rule(std::string_view word) {
  const std::size_t n = word.size();
  if (n < 3) return false;
  const char last = word[n - 1];
  if (is_vowel(last) || last == 'w' || last == 'x' || last == 'y') return false;
  if (!is_vowel(word[n - 2])) return false;
  const bool after_q = word[n - 2] != 'u' && word[n - 3] == 'u' && n > 3 && word[n - 4] == 'q';
  if (is_vowel(word[n - 3]) && !after_q) return false;
  const std::size_t before = after_q ? n - 4 : n - 2;
  for (std::size_t i = 0; i < before; ++i) {
    if (is_vowel(word[i]) || word[i] == 'y')
      return false;  // an earlier vowel: more than one syllable
  }
  return true;
}

/// The word as it stands before -ed or -ing, without the rules for e and y.
std::string stem(std::string_view base, bool doubles) {
  std::string out(base);
  if (doubles || doubles_by_rule(base)) {
    out += base.back();
  } else if (ends_with(base, "c")) {
    out += 'k';  // mimicking
  }
  return out;
}

/// A phrase keeps its particle: "switch_off" inflects its first word.
template <class Rule>
std::string on_first_word(std::string_view phrase, const Rule& rule) {
  const std::size_t at = phrase.find(' ');
  if (at == std::string_view::npos) return rule(phrase);
  return rule(phrase.substr(0, at)) + std::string(phrase.substr(at));
}

/// Cuts `text` at the first `separator`: returns the part before it and leaves the part after.
std::string_view take(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return head;
}

Complement parse_complement(std::string_view text) {
  Complement c;
  while (!text.empty() && (text.back() == '@' || text.back() == '>')) {
    (text.back() == '@' ? c.location : c.recipient) = true;
    text.remove_suffix(1);
  }
  if (text.find(':') != std::string_view::npos) c.preposition = take(text, ':');
  if (text != "-") c.noun_class = text;
  return c;
}

Verb parse_row(std::string_view row) {
  Verb v;
  std::string_view forms = take(row, ' ');
  std::string_view complements = take(row, ' ');
  v.base = take(forms, '/');
  if (v.base.back() == '+') {
    v.doubles = true;
    v.base.pop_back();
  }
  for (char& c : v.base) c = c == '_' ? ' ' : c;
  v.past = forms.empty() ? with_ed(v.base, v.doubles) : std::string(take(forms, '/'));
  v.participle = forms.empty() ? v.past : std::string(forms);
  while (!complements.empty()) v.complements.push_back(parse_complement(take(complements, ',')));
  for (const char flag : row) {
    v.stative = v.stative || flag == 's';
    v.punctual = v.punctual || flag == 'p';
    v.animal = v.animal || flag == 'a';
  }
  return v;
}

void parse_rows(std::string_view table, std::vector<Verb>& out) {
  while (!table.empty()) {
    std::string_view row = take(table, ';');
    while (!row.empty() && (row.front() == '\n' || row.front() == ' ')) row.remove_prefix(1);
    if (!row.empty()) out.push_back(parse_row(row));
  }
}

}  // namespace

std::string with_s(std::string_view word) {
  return on_first_word(word, [](std::string_view w) {
    const std::string base(w);
    if (w == "have") return std::string("has");
    for (const std::string_view end : {"s", "x", "z", "ch", "sh", "o"}) {
      if (ends_with(w, end)) return base + "es";
    }
    if (w.size() > 1 && w.back() == 'y' && !is_vowel(w[w.size() - 2])) {
      return base.substr(0, base.size() - 1) + "ies";
    }
    return base + "s";
  });
}

std::string with_ed(std::string_view phrase, bool doubles) {
  return on_first_word(phrase, [=](std::string_view w) {
    const std::string base(w);
    if (w.back() == 'e') return base + "d";
    if (w.size() > 1 && w.back() == 'y' && !is_vowel(w[w.size() - 2])) {
      return base.substr(0, base.size() - 1) + "ied";
    }
    return stem(w, doubles) + "ed";
  });
}

std::string with_ing(std::string_view phrase, bool doubles) {
  return on_first_word(phrase, [=](std::string_view w) {
    const std::string base(w);
    if (ends_with(w, "ie")) return base.substr(0, base.size() - 2) + "ying";
    const bool keeps_e =
        ends_with(w, "ee") || ends_with(w, "oe") || ends_with(w, "ye") || w == "be";
    if (w.back() == 'e' && !keeps_e) return base.substr(0, base.size() - 1) + "ing";
    return stem(w, doubles) + "ing";
  });
}

bool Verb::irregular() const { return past != with_ed(base, doubles) || participle != past; }

std::string Verb::third_person() const { return base == "be" ? "is" : with_s(base); }

std::string Verb::gerund() const { return with_ing(base, doubles); }

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = [] {
    std::vector<Verb> out;
    parse_rows(kIrregular, out);
    parse_rows(kRegular, out);
    return out;
  }();
  return all;
}

const Verb& copula() {
  static const Verb be = [] {
    Verb v;
    v.base = "be";
    v.past = "was";
    v.participle = "been";
    v.stative = true;
    return v;
  }();
  return be;
}

Verb verb_named(std::string_view base) {
  if (base == "be") return copula();
  for (const Verb& v : verbs()) {
    if (v.base == base) return v;
  }
  Verb v;
  v.base = base;
  v.past = with_ed(base);
  v.participle = v.past;
  return v;
}

}  // namespace notch::data
