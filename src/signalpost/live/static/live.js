"use strict";
setInterval(async () => {
  const answer = await fetch("data.json");
  document.getElementById("raw").textContent = JSON.stringify(await answer.json(), null, 1);
}, 2000);
