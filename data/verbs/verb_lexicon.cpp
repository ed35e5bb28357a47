#include "data/verbs/verb_lexicon.h"

#include "autograd/base/error.h"
#include "data/verbs/verb_table.h"

namespace notch::data {
namespace {

// One class per line: NAME | ADJECTIVES | NOUNS. A noun is "letter", "knife/knives", "~water"
// (mass),
// "=football" (bare) or "'the market" (fixed); "_" stands for a space.
constexpr std::string_view kNouns = R"(
animal|big,small,young,old,hungry,black,white|dog,cat,horse,rabbit,bird,cow,goat,duck,mouse/mice,sheep/sheep
bag|heavy,new,old,big|bag,suitcase,box,basket,backpack
ball||ball,stone,snowball,frisbee
balloon|red,big,green|balloon,bubble,paper_bag
bank||bank,store,jewelry_store
bat|heavy,wooden|bat,hammer,racket,golf_club
bell|old,loud|bell,gong
bill|high,monthly|bill,fine,invoice,~rent
boat|small,old,fast|boat,ship,canoe,raft
body||hand,arm,leg,knee,foot/feet,shoulder,finger,back
bone|big,old|bone,treasure,coin
building|new,old,tall,beautiful,small|house,tower,bridge,school,hospital,church,garage,library,theater
cake|chocolate,small,fresh|cake,pie,loaf/loaves
candle||candle,fire,lamp,lantern
castle|old,ancient|castle,fort,village,town
city||=Paris,=London,=Rome,=Tokyo,=Chicago,=Cairo,=Berlin,'the_city,'the_village,'the_mountains
clock|old,new|clock,alarm,watch,timer
cloth|new,old,warm,blue,red,clean,dirty|shirt,coat,dress,hat,sweater,jacket,scarf/scarves,skirt,uniform
cow|brown,old|cow,goat
crime|serious,terrible|crime,robbery
danger|terrible,great|fire,storm,flood,earthquake
debt|old,large|loan,debt
door|front,back,heavy|door,gate,window,drawer,safe,suitcase
dragon|terrible,old|dragon,monster
drink|hot,cold,fresh,sweet|~water,~milk,~coffee,~tea,~juice,~lemonade,~soup
egg|fresh,brown|egg
event|long,short,big|party,meeting,concert,wedding,lecture,festival
exam|final,difficult,easy|exam,test,quiz/quizzes,class
fat|dark,soft|~butter,~chocolate,~cheese,~ice
flag|national,old|flag,curtain
floor|dirty,wooden|floor,'the_stairs,porch,yard
flower|red,white,wild|flower,rose,tulip,daisy
food|hot,cold,fresh,delicious,sweet|apple,sandwich,cake,pizza,salad,egg,potato/potatoes,tomato/tomatoes,carrot,burger,~rice,~bread,~cheese,~fish,~pasta
fragile|expensive,old,beautiful|cup,plate,glass,vase,bottle,mirror,window
game|new,difficult|game,puzzle,card_game
gift|small,beautiful,expensive|present,flower,ring,toy,watch,necklace,card
grain|fresh|~coffee,~corn,~pepper,~wheat
help|professional,urgent|~help,~advice,~support,~shelter
hill|steep,high|hill,mountain,cliff,dune
hole|deep,small|hole,tunnel,ditch,well
holiday|long|holiday,birthday,anniversary,victory
instrument|old,new|piano,guitar,violin,drum,flute,trumpet,harp
key|lost,small|key,password,ticket,umbrella
kite|red,small|kite,plane,drone
knot|tight,complicated|knot,button,zipper
language||=French,=Spanish,=German,=Arabic,=Japanese,=English,=Italian
lawn|long,wet|lawn,~grass,field
loan||book,bicycle,pen,umbrella,camera,ladder,~money
log|heavy,dry|log,~wood,branch,plank
machine|old,new,broken-down|computer,radio,television,engine,printer,heater,camera,robot,washing_machine
match|important,difficult|match,race,tournament,final
medicine|bitter|~medicine,pill,vitamin
metal|long,thin|spoon,wire,nail,pipe
mistake|big,small,serious|mistake,error
money||~money
nail|long,rusty|nail,peg
name|long,strange|name,address,number,date,title
noise|loud,strange|noise,~traffic,~weather
oath|solemn|oath
onion|fresh,ripe|onion,carrot,apple,tomato/tomatoes,pepper
paper|old,thick|newspaper,letter,page,envelope,ticket,~paper
picture|beautiful,old,large|picture,portrait,map,photo,poster,cartoon
place||'the_market,'the_park,'the_station,'the_beach,'the_library,'the_museum,'the_office,'the_airport,'the_bakery,'the_hospital,=school,=work,=church
plan|new,bold,careful|plan,proposal,idea,schedule,budget
planet|strange,distant|island,planet,cave,forest,desert
plant|green,tall|plant,tree,rose,vegetable,bush
poster|new,colorful|poster,note,photo,sign,label
potato|large|potato/potatoes,carrot
problem|serious,old,difficult|problem,difficulty,crisis/crises,fear
project|large,new,important|project,report,experiment,campaign
question|difficult,simple,strange|question,riddle,rule,letter
ride|fast,old|bicycle,horse,motorcycle,camel
river|wide,cold,deep|river,lake,pool,canal
role||doctor,teacher,nurse,engineer,actor,lawyer,pilot,artist,scientist,writer
room|clean,empty,small|kitchen,bedroom,office,classroom,garage,bathroom,hall
rope|long,thick|rope,cable,chain,belt
rug|colorful,small|rug,basket,blanket
rumor|wild,false|rumor,story,~news
seat|old,wooden|chair,bench,stool,sofa,table
secret|terrible,old|secret,promise,conversation,recipe
seed|small|seed,bean,~corn
song|old,sad,slow,popular|song,tune,melody,hymn
sound|loud,soft,strange|noise,voice,song,~music,~thunder
sport||=football,=tennis,=chess,=basketball,=golf,=volleyball
stamp|rare,foreign|stamp,coin,shell,postcard
street|busy,narrow,wide|street,road,square,bridge
subject||=history,=biology,=math,=law,=physics,=chemistry,=geography
tale|long,funny,sad,true|story,joke,legend,fairy_tale
team|strong,young|team,club,army,choir,group
text|long,short,new,important,boring|letter,book,email,report,poem,article,message,novel,essay,contract
theory|new,famous|theory,theorem,claim
thing|new,old,small,heavy,blue,expensive|key,bag,box,cup,plate,bottle,umbrella,phone,camera,pencil,coin,lamp,knife/knives,book,wallet
toy|wooden,small|toy,doll,puppet,chair
tree|tall,old|tree,fence,bush
vehicle|new,red,fast,old|car,bus,truck,taxi,van,train
video|short,funny|video,film,scene
vote||vote,spell,shadow
weather|cold,warm|~rain,~wind,~sun,~heat
wheel|big|wheel,coin,top
whistle|silver,loud|whistle,trumpet,horn
word|kind,long,single|word,prayer,sentence
work||~homework,exercise,task,project,assignment
)";

// Names and noun phrases for people: TEXT|POSSESSIVE, "+" before a plural.
constexpr std::string_view kPeople = R"(
Anna|her,Maria|her,Emma|her,Julia|her,Sarah|her,Lucy|her,Nina|her,Alice|her,Clara|her,Grace|her,Ruth|her,Olga|her,
Fatima|her,Aisha|her,Mei|her,Rosa|her,Helen|her,Sofia|her,Diana|her,Kate|her,Tom|his,Peter|his,John|his,David|his,
Ben|his,Omar|his,Carlos|his,Ivan|his,Kenji|his,Paul|his,Sam|his,Leo|his,Max|his,Henry|his,Victor|his,Ahmed|his,
Oscar|his,Daniel|his,George|his,Felix|his,my sister|her,my brother|his,my mother|her,my father|his,our aunt|her,
our uncle|his,my grandmother|her,my grandfather|his,the teacher|her,the doctor|his,the nurse|her,the farmer|his,
the baker|his,the driver|his,the artist|her,the old man|his,the young woman|her,the girl|her,the boy|his,
the captain|her,the student|his,the queen|her,the king|his,the lawyer|her,the manager|his,the singer|her,the cook|his,
the engineer|her,the police officer|his,the journalist|her,+the children|their,+my parents|their,+the students|their,
+our neighbors|their,+the workers|their,+the tourists|their,+the players|their,+the twins|their,+my friends|their,
+the visitors|their,+the soldiers|their,+the scientists|their,+Anna and Tom|their,+Maria and Paul|their,
+Omar and Aisha|their,+Lucy and Ben|their
)";

// SUBJECT|VERB|REST, "+" before a plural.
constexpr std::string_view kEvents = R"(
the phone|ring|,the bell|ring|,the alarm|go|off,it|rain|,it|snow|,the rain|stop|,the storm|begin|,the sun|rise|,
the sun|set|,the wind|blow|,the train|leave|,the bus|arrive|,the plane|land|,the movie|end|,the music|stop|,the class|start|,
+the guests|arrive|,+the lights|go|out,+the leaves|fall|,+the shops|close|,+the prices|rise|,the kettle|boil|,
the ice|melt|,the snow|fall|,the power|fail|,the baby|wake|up,the baby|cry|,the dog|bark|,the door|open|,the ship|sink|,
the river|freeze|,the war|end|,the crowd|leave|,the elevator|stop|,the moon|appear|,the price|fall|,the engine|fail|,
winter|come|,spring|arrive|,the mail|come|,+the children|wake|up,+the birds|sing|
)";

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  std::string part;
  for (const char c : text) {
    if (c == separator) {
      out.push_back(part);
      part.clear();
    } else if (c != '\n') {
      part += c;
    }
  }
  out.push_back(part);
  return out;
}

Noun parse_noun(std::string text) {
  Noun noun;
  for (char& c : text) c = c == '_' ? ' ' : c;
  const char mark = text[0];
  noun.kind = mark == '~'    ? NounKind::mass
              : mark == '='  ? NounKind::bare
              : mark == '\'' ? NounKind::fixed
                             : NounKind::count;
  if (noun.kind != NounKind::count) text.erase(0, 1);
  const std::size_t slash = text.find('/');
  noun.singular = text.substr(0, slash);
  if (slash != std::string::npos) {
    noun.plural = text.substr(slash + 1);
  } else {
    const std::size_t space = text.rfind(' ');  // the last word takes the ending
    const std::size_t word = space == std::string::npos ? 0 : space + 1;
    noun.plural = text.substr(0, word) + with_s(text.substr(word));
  }
  return noun;
}

std::vector<NounClass> parse_classes() {
  std::vector<NounClass> out;
  std::string line;
  for (const char c : kNouns) {
    if (c != '\n') {
      line += c;
      continue;
    }
    if (!line.empty()) {
      const std::vector<std::string> fields = split(line, '|');
      NounClass k{.name = fields[0], .adjectives = {}, .nouns = {}};
      if (!fields[1].empty()) k.adjectives = split(fields[1], ',');
      for (const std::string& noun : split(fields[2], ',')) k.nouns.push_back(parse_noun(noun));
      out.push_back(std::move(k));
    }
    line.clear();
  }
  return out;
}

Subject third(std::string text, std::string possessive) {
  Subject s;
  s.plural = text[0] == '+';
  s.text = s.plural ? text.substr(1) : text;
  s.possessive = std::move(possessive);
  s.object = s.text;
  return s;
}

}  // namespace

const NounClass& noun_class(std::string_view name) {
  static const std::vector<NounClass> classes = parse_classes();
  for (const NounClass& c : classes) {
    if (c.name == name) return c;
  }
  throw Error({.fault = Fault::usage,
               .where = "verb lexicon",
               .what = "unknown noun class",
               .field = "class",
               .found = std::string(name)});
}

std::span<const Subject> pronouns() {
  static const std::vector<Subject> all = {
      {"I", "my", "me", 1, false},       {"you", "your", "you", 2, true},
      {"he", "his", "him", 3, false},    {"she", "her", "her", 3, false},
      {"it", "its", "it", 3, false},     {"we", "our", "us", 1, true},
      {"they", "their", "them", 3, true}};
  return all;
}

std::span<const Subject> people() {
  static const std::vector<Subject> all = [] {
    std::vector<Subject> out;
    for (const std::string& entry : split(kPeople, ',')) {
      const std::vector<std::string> fields = split(entry, '|');
      out.push_back(third(fields[0], fields[1]));
    }
    return out;
  }();
  return all;
}

std::span<const Subject> animals() {
  static const std::vector<Subject> all = {
      third("the dog", "its"),      third("the cat", "its"),     third("the horse", "its"),
      third("the fox", "its"),      third("the bear", "its"),    third("the rabbit", "its"),
      third("our dog", "its"),      third("the wolf", "its"),    third("+the dogs", "their"),
      third("+the birds", "their"), third("+the cats", "their"), third("the monkey", "its")};
  return all;
}

std::span<const Event> events() {
  static const std::vector<Event> all = [] {
    std::vector<Event> out;
    for (const std::string& entry : split(kEvents, ',')) {
      const std::vector<std::string> fields = split(entry, '|');
      out.push_back({third(fields[0], "its"), fields[1], fields[2]});
    }
    return out;
  }();
  return all;
}

}  // namespace notch::data
