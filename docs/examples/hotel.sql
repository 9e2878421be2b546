-- region tables
CREATE SCHEMA hotel;
CREATE TABLE hotel.bookings (
  tenant text NOT NULL,
  booking text NOT NULL,
  room text NOT NULL,
  day date NOT NULL,
  PRIMARY KEY (tenant, booking)
);
GRANT USAGE ON SCHEMA hotel TO refold_login;
GRANT SELECT, INSERT ON hotel.bookings TO refold_login;
-- endregion
