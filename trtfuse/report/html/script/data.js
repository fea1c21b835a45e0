// The report: it stands in the page as JSON, in an element that the browser does not run.
export const data = JSON.parse(document.getElementById("data").textContent);
