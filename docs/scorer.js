// The order of search results. Someone who searches "prometheus" or "install" looks for a
// guide, so guides come before the reference. A page whose title has all words comes first.
const BONUS = [
  [/^(installation|quickstart|tutorial|configuration|deployment|troubleshooting)$/, 12],
  [/^howto\//, 12],
  [/^(changelog|performance|architecture)$/, -3],
  [/^reference\//, -4],
];
const query = new URLSearchParams(location.search).get("q") || "";
const words = query.toLowerCase().split(/\s+/);

var Scorer = {
  score: ([page, title, , , score]) => {
    const bonus = BONUS.find(([pattern]) => pattern.test(page));
    const inTitle = words.every((word) => title.toLowerCase().includes(word));
    return score + (bonus ? bonus[1] : 0) + (inTitle ? 10 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 8, 1: 4, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
